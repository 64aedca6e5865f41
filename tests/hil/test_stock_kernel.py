"""The choice of tests that the whole ladder repeats on Debian's stock kernel."""

import ast
import importlib.util
from pathlib import Path

from gateway_hil.ladder import RUNGS

LADDER = Path(__file__).parents[2] / "hil" / "ladder"


def chosen() -> dict[str, tuple[str, ...] | None]:
    """The table in the ladder's conftest.py."""
    spec = importlib.util.spec_from_file_location("ladder_conftest", LADDER / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(module.STOCK_KERNEL)


def test_every_chosen_test_is_there():
    for file, names in chosen().items():
        tree = ast.parse((LADDER / file).read_text())
        there = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert set(names or ()) <= there, f"{file} has no {set(names or ()) - there}"


def test_every_port_is_tried_on_the_stock_kernel():
    assert {
        "test_kernel.py",
        "test_serial.py",
        "test_gpio.py",
        "test_ble.py",
        "test_alsa.py",
        "test_v4l2.py",
    } <= set(chosen())


def test_the_whole_ladder_chooses_on_qemu_only():
    assert {rung.name: rung.marks for rung in RUNGS if rung.marks} == {"qemu": "stock_kernel"}
