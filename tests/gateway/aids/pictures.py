"""Pictures for models that others made: plain BMP files and a resize by area, in numpy alone."""

import struct
from pathlib import Path

import numpy as np


def read_bmp(path: Path) -> np.ndarray:
    """An uncompressed BMP of 8 (grey) or 24 bits a pixel as uint8 [rows, columns, 3], red first."""
    content = path.read_bytes()
    start, _, columns, rows, _, bits = struct.unpack_from("<IIiiHH", content, 10)
    stride = (columns * bits // 8 + 3) // 4 * 4
    pixels = np.frombuffer(content, np.uint8, stride * abs(rows), start).reshape(abs(rows), stride)
    pixels = pixels[:, : columns * bits // 8].reshape(abs(rows), columns, bits // 8)
    pixels = pixels[::-1] if rows > 0 else pixels
    return np.repeat(pixels, 3, axis=2) if bits == 8 else pixels[..., ::-1]


def resized(picture: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """float32 [rows, columns, 3]: the mean of what each new pixel covers, or what lies between."""
    lower = np.tensordot(_mix(picture.shape[0], rows), picture.astype(np.float32), axes=1)
    narrower = np.tensordot(_mix(picture.shape[1], columns), lower, axes=(1, 1))
    return narrower.transpose(1, 0, 2)


def letterboxed(picture: np.ndarray, side: int) -> np.ndarray:
    """The whole picture in a square, its sides as they were, black around it."""
    rows, columns = (round(n * side / max(picture.shape[:2])) for n in picture.shape[:2])
    square = np.zeros((side, side, 3), np.float32)
    top, left = (side - rows) // 2, (side - columns) // 2
    square[top : top + rows, left : left + columns] = resized(picture, rows, columns)
    return square


def _mix(old: int, new: int) -> np.ndarray:
    """float32 [new, old]: a triangle as wide as a new pixel, or an old one if that is wider."""
    centre = (np.arange(new) + 0.5) * old / new
    width = max(1.0, old / new)
    weight = np.maximum(0.0, 1.0 - np.abs(np.arange(old) + 0.5 - centre[:, None]) / width)
    return (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
