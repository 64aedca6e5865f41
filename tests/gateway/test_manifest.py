"""A manifest says what is wrong with it, whatever that is; and nothing else ever comes out of reading one."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest
from bundles import small_bundle
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BundleError
from gateway.manifest import parse_manifest

Plain = dict[str, Any]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Plain:
    folder = tmp_path_factory.mktemp("bundle") / "small"
    small_bundle(folder)
    found: Plain = json.loads((folder / "manifest.json").read_bytes())
    return found


def parse(plain: Plain) -> Any:
    return parse_manifest(json.dumps(plain).encode())


def test_what_a_manifest_says_is_what_was_packed(plain: Plain) -> None:
    manifest = parse(plain)
    assert manifest.labels == ("gunshot", "firework", "glass", "impact", "other")
    assert [manifest.input_shape(look.name) for look in manifest.looks] == [(1, 73, 40, 1), (1, 149, 40, 1)]
    assert manifest.output_shape == (1, 5)
    assert manifest.calibration["second"].weights == (0.5, 0.5)
    assert manifest.thresholds["gunshot"].unsure == 0.4
    assert manifest.thresholds["glass"].unsure is None
    assert manifest.file_of("int8", "second") == "second.int8.tflite"
    assert manifest.model == manifest.hash[:16]
    assert manifest.hash != parse(plain | {"created": "2026-11-24"}).hash


def put(*path: Any) -> Callable[[Plain, Any], None]:
    def change(plain: Plain, value: Any) -> None:
        *way, last = path
        place: Any = plain
        for key in way:
            place = place[key]
        place[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["schema_version"], 1, "manifest schema 1 is not 2; update the gateway or the bundle"),
        (["schema_version"], True, "schema_version must be a whole number"),
        (["name"], "Shot V1", 'name must be a name like "gunshot"'),
        (["name"], "../../etc", "name must be a name"),
        (["version"], "1.0", 'version must be a version like "1.0.0"'),
        (["version"], "01.0.0", "version must be a version"),
        (["task"], "faces", "the one task this gateway knows"),
        (["created"], "yesterday", 'a day like "2026-11-23"'),
        (["created"], "20261123", 'a day like "2026-11-23"'),
        (["licence"], " ", "licence must be a text"),
        (["credits"], [], "credits must have 1 to 64 entries"),
        (["credits"], ["a\nb"], r"credits\[0\] must be a text of one line"),
        (["provenance", "sources"], [], "provenance.sources must have 1 to 64"),
        (["provenance", "sources", 0, "clips"], -1, r"provenance.sources\[0\].clips must lie between"),
        (["provenance", "seed"], 1.5, "provenance.seed must be a whole number"),
        (["labels"], ["gunshot", "gunshot", "glass", "impact", "other"], "name a label twice"),
        (["labels"], ["gunshot", "firework", "glass", "impact"], "does not fit 4 labels"),
        (["labels", 4], "Other", "is not a snake_case name"),
        (["labels", 4], "unsure", "name of its own"),
        (["reports"], ["firework", "glass"], "reports must name 'gunshot'"),
        (["reports"], ["gunshot", "thunder"], "'thunder', which is no label"),
        (["reports"], ["gunshot", "impact"], "from where on 'impact' is sure"),
        (["input", "kind"], "waveform", "the one front end this gateway knows"),
        (["input", "bands"], 0, "bands does not fit"),
        (["input", "bands"], True, "input.bands must be a whole number"),
        (["input", "colour"], 1, "unknown key 'input.colour'"),
        (["looks"], [], "looks must have 1 to 4"),
        (["looks", 0, "before_ms"], 200, "one before_ms"),
        (["looks", 0, "after_ms"], 3000, "in the order of their after_ms"),
        (["looks", 1, "after_ms"], 60_000, "must lie between 100 and 5000"),
        (["looks", 1, "name"], "first", "looks must have different names"),
        (["output", "shape"], [1, 6], "does not fit 5 labels"),
        (["output", "shape"], [True, 5], "does not fit 5 labels"),
        (["output", "kind"], "scores", "one number per label, before softmax"),
        (["calibration", "second", "weights"], [1.0], "has 1 numbers, not 2"),
        (["calibration", "first", "offset"], 1e9, "calibration.first.offset must be a number between"),
        (["thresholds", "gunshot", "sure"], 1.0, "must be 0 < unsure < sure < 1"),
        (["thresholds", "gunshot", "unsure"], 0.9, "must be 0 < unsure < sure < 1"),
        (["thresholds", "gunshot", "margin"], 0.8, "a margin smaller than sure"),
        (["thresholds", "glass", "unsure"], 0.1, "unknown key 'thresholds.glass.unsure'"),
        (["variants", "f32", "tolerance"], 9.0, "variants.f32.tolerance must be a number between"),
        (["variants", "f32", "looks", "first"], "../first.tflite", "must be the name of a file"),
        (["variants", "f32", "looks", "first"], "second.f32.tflite", ".tflite file of its own"),
        (["variants", "f16"], {}, "unknown key 'variants.f16'"),
        (["budget", "memory_mib"], 4096, "must lie between 1 and 256"),
        (["budget", "latency_ms", "third"], 1.0, "unknown key 'budget.latency_ms.third'"),
        (["figures"], {"auc": "high"}, "figures.'auc' must be a number"),
        (["figures"], {"auc": 10**400}, "figures.'auc' must be a number"),
        (["figures"], {str(n): n for n in range(600)}, "more than 512 entries"),
        (["files", "card.md", "sha256"], "00", "64 hex digits"),
        (["files", "card.md", "bytes"], 3 << 30, "must lie between 1 and"),
        (["files", "extra.bin"], {"bytes": 1, "sha256": "0" * 64}, "unknown key 'files.extra.bin'"),
        (["surprise"], 1, "unknown key 'surprise'"),
    ],
)  # fmt: skip
def test_a_manifest_says_what_is_wrong(plain: Plain, path: list[Any], value: Any, words: str) -> None:
    changed = deepcopy(plain)
    put(*path)(changed, value)
    with pytest.raises(BundleError, match=words):
        parse(changed)


def test_every_key_is_needed(plain: Plain) -> None:
    for path in _paths(plain):
        if path[0] == "figures" and len(path) > 1:
            continue  # what was measured differs from bundle to bundle
        if path in (["variants", "int8"], ["thresholds", "glass"], ["thresholds", "firework"]):
            continue  # the first is a choice; the others are named by what reports them
        changed = deepcopy(plain)
        place: Any = changed
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]
        with pytest.raises(BundleError):
            parse(changed)


def _paths(plain: Any) -> Iterator[list[Any]]:
    """Every key of every object, however deep."""
    steps = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    for key, value in steps:
        if isinstance(plain, dict):
            yield [key]
        for path in _paths(value):
            yield [key, *path]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not JSON"),
        (b"[]", "must be an object in braces"),
        (b'{"name": 1, "name": 2}', "the key 'name' stands twice"),
        (b'{"schema_version": NaN}', "NaN is no number"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 50_000, "is not JSON"),
        (b'{"schema_version": ' + b"9" * 5_000 + b"}", "is not JSON"),
    ],
    ids=["empty", "list", "twice", "nan", "latin", "deep", "digits"],
)
def test_what_is_no_json_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        parse_manifest(content)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_in_words(content: bytes) -> None:
    with pytest.raises(BundleError):
        parse_manifest(content)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_any_other_value_anywhere_is_taken_or_refused_in_words(plain: Plain, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(list(_paths(plain))))
    changed = deepcopy(plain)
    put(*path)(changed, data.draw(_JSON))
    try:
        manifest = parse(changed)
    except BundleError as error:
        assert str(error)
        return
    assert len(manifest.labels) == manifest.output_shape[1]
    assert all(0.0 < each.sure < 1.0 for each in manifest.thresholds.values())
    assert all(manifest.input_shape(look.name)[1] >= 1 for look in manifest.looks)
