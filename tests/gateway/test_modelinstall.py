"""From a folder or an archive onto a box: what is refused is refused before anything is switched."""

import gzip
import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest
from bundles import KEY, broken_package, put_file, rewrite, small_bundle
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.bundle import find_bundle
from gateway.bundlesign import trust, trusted
from gateway.cli import main
from gateway.commands.modelverify import NOT_ASKED, OK, Finding, network_finding
from gateway.config import read_site
from gateway.confine import NO_NETWORK
from gateway.errors import BundleError, ConfigError
from gateway.inference import LITERT, TFLITE, runtime_installed
from gateway.modelinstall import FILES_MAX, files_of, install, rollback
from gateway.modelstore import ACTIVE, ModelStore, mark_for
from gateway.tryout import TrialReport

PUBLIC = KEY.public_key().public_bytes_raw().hex()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A box that trusts the key of the tests."""
    trust(tmp_path / "state", PUBLIC)
    return tmp_path / "state"


def archive_of(folder: Path, path: Path, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        archive.add(folder, arcname=folder.name)
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_an_archive_holds_what_the_folder_holds(tmp_path: Path, mode: str) -> None:
    bundle = small_bundle(tmp_path / "small")
    assert files_of(bundle.folder) == bundle.files
    assert files_of(archive_of(bundle.folder, tmp_path / "small.tar", mode)) == bundle.files


def test_an_archive_that_is_cut_or_none_is_refused(tmp_path: Path) -> None:
    folder = small_bundle(tmp_path / "small").folder
    path = archive_of(folder, tmp_path / "small.tar.gz", "w:gz")
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(BundleError, match=r"no whole \.tar archive"):
        files_of(path)
    path.write_text("hello")
    with pytest.raises(BundleError, match=r"no whole \.tar archive"):
        files_of(path)
    with pytest.raises(BundleError, match=r"there is no .*thunder; name a bundle's folder"):
        files_of(tmp_path / "thunder")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=r"there is no manifest\.json in .*; this is no bundle"):
        files_of(tmp_path / "empty")
    (tmp_path / "empty" / "folder").mkdir()
    with pytest.raises(BundleError, match=r"folder is no plain file"):
        files_of(tmp_path / "empty")


def test_members_that_no_bundle_has_are_refused(tmp_path: Path) -> None:
    link = tarfile.TarInfo("small/card.md")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    huge = tarfile.TarInfo("small/first.f32.tflite")
    huge.size = 2 << 30
    twice = [tarfile.TarInfo("a/card.md"), tarfile.TarInfo("b/card.md")]
    many = [tarfile.TarInfo(f"file-{n}") for n in range(FILES_MAX + 1)]
    folders = [tarfile.TarInfo(f"folder-{n}") for n in range(2 * FILES_MAX + 2)]
    for folder in folders:
        folder.type = tarfile.DIRTYPE
    long = tarfile.TarInfo("long")
    long.type, long.size = tarfile.GNUTYPE_LONGNAME, 2 << 30
    for members, words in (
        ([link], "is no file of a bundle"),
        ([huge], "has 2147483648 bytes; no bundle is that large"),
        (twice, "is no file of a bundle"),
        (many, "is no file of a bundle"),
        (folders, "has more than 64 parts"),
        ([long], "a header of 2147483648 bytes"),
    ):
        path = tmp_path / "odd.tar.gz"
        with gzip.open(path, "wb") as file:  # the huge one's content is not there: nobody may want it
            file.write(b"".join(member.tobuf() for member in members) + bytes(1024))
        with pytest.raises(BundleError, match=words):
            files_of(path)


def test_a_name_in_an_archive_cannot_lead_out(tmp_path: Path) -> None:
    folder = small_bundle(tmp_path / "small").folder
    path = archive_of(folder, tmp_path / "odd.tar")
    with tarfile.open(path, "a") as archive:
        odd = tarfile.TarInfo("../../evil.txt")
        odd.size = 4
        archive.addfile(odd, io.BytesIO(b"evil"))
    assert set(files_of(path)) - {each.name for each in folder.iterdir()} == {"evil.txt"}  # no path is left


@pytest.mark.slow
def test_again_asks_for_a_trial_and_leaves_the_mark_if_that_is_not_passed(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = small_bundle(tmp_path / "1")
    install(bundle.folder, state)  # its trial was passed, and that is kept
    store = ModelStore(state)
    store.quarantine(mark_for(bundle.folder, "two workers died under it"))
    monkeypatch.setenv("GATEWAY_TFLITE", "thunder")  # no runtime of that name
    with pytest.raises(BundleError, match="models cannot be tried here: GATEWAY_TFLITE is 'thunder'"):
        install(bundle.folder, state, again=True)
    assert store.quarantined(bundle.manifest.hash) is not None


@pytest.mark.slow
def test_no_model_is_blamed_for_a_box_without_a_runtime(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = TFLITE if runtime_installed() == LITERT else LITERT
    monkeypatch.setenv("GATEWAY_TFLITE", other)
    with pytest.raises(BundleError, match=f"asks for {other}, which is not installed"):
        install(small_bundle(tmp_path / "1").folder, state)
    assert ModelStore(state).marks() == []


@pytest.mark.slow
def test_versions_are_installed_and_rolled_back(tmp_path: Path, state: Path) -> None:
    first = install(small_bundle(tmp_path / "1").folder, state)
    assert (first.before, first.signer, first.bundle.manifest.version) == ("", PUBLIC, "1.0.0")
    newer = archive_of(small_bundle(tmp_path / "2", version="1.1.0", seed=5).folder, tmp_path / "2.tar")
    second = install(newer, state)
    assert second.before == "1.0.0"
    store = ModelStore(state)
    assert find_bundle("small", state) == store.folder("small", "1.1.0")
    assert rollback("small", state) == ("1.1.0", "1.0.0")
    assert find_bundle("small", state) == store.folder("small", "1.0.0")
    assert rollback("small", state, "1.1.0") == ("1.0.0", "1.1.0")
    store.quarantine(mark_for(store.folder("small", "1.0.0"), "it bit"))
    with pytest.raises(BundleError, match=r"small 1\.0\.0 is in quarantine: it bit"):
        rollback("small", state)
    with pytest.raises(BundleError, match=r"in quarantine on this box since .*: it bit\. Install a better"):
        install(first.bundle.folder, state)
    assert find_bundle("small", state) == store.folder("small", "1.1.0")
    install(first.bundle.folder, state, again=True)
    assert find_bundle("small", state) == store.folder("small", "1.0.0")
    with pytest.raises(BundleError, match="no model 'thunder' is installed on this box; there are: small"):
        rollback("thunder", state)


def test_only_trusted_keys_install(tmp_path: Path, state: Path) -> None:
    stranger = Ed25519PrivateKey.generate()
    public = stranger.public_key().public_bytes_raw().hex()
    folder = small_bundle(tmp_path / "small", key=stranger).folder
    with pytest.raises(
        BundleError, match=f"does not trust; its fingerprint is .*install it with --trust {public}"
    ):
        install(folder, state)
    with pytest.raises(BundleError, match="not by the key to be trusted"):
        install(folder, state, trust_key=PUBLIC)
    assert ModelStore(state).names() == []
    assert public not in trusted(state)


@pytest.mark.slow
def test_a_key_is_trusted_once_for_all(tmp_path: Path) -> None:
    state = tmp_path / "state"
    install(small_bundle(tmp_path / "1").folder, state, trust_key=PUBLIC)
    assert PUBLIC in trusted(state)
    install(small_bundle(tmp_path / "2", version="1.1.0").folder, state)
    assert ModelStore(state).version_at("small", ACTIVE) == "1.1.0"


@pytest.mark.slow
def test_what_fails_a_check_leaves_the_box_as_it_was(tmp_path: Path, state: Path) -> None:
    """Damaged, other labels, the same version with other content, a front end of another kind."""
    install(small_bundle(tmp_path / "1").folder, state)
    labels = ("gunshot", "firework", "glass", "impact", "thunder")
    others = small_bundle(tmp_path / "labels", version="2.0.0", labels=labels).folder
    same = small_bundle(tmp_path / "same", seed=5).folder
    damaged = small_bundle(tmp_path / "damaged", version="2.0.0").folder
    (damaged / "second.int8.tflite").write_bytes(b"nothing")
    unsigned = small_bundle(tmp_path / "unsigned", version="2.0.0").folder
    (unsigned / "manifest.json").write_bytes((unsigned / "manifest.json").read_bytes() + b" ")
    bad = small_bundle(tmp_path / "bad", version="2.0.0").folder
    put_file(bad, "first.f32.tflite", b"TFL3" * 100)
    for folder, words in (
        (others, r"has other labels .*; a bundle with other labels needs another name"),
        (same, r"small 1\.0\.0 is installed with other content, and a version never changes"),
        (damaged, r"second\.int8\.tflite is cut short"),
        (unsigned, r"manifest\.sig does not fit manifest\.json"),
        (bad, r"small 2\.0\.0: "),
    ):
        with pytest.raises(BundleError, match=words):
            install(folder, state)
        assert [held.version for held in ModelStore(state).held("small")] == ["1.0.0"]
        assert ModelStore(state).version_at("small", ACTIVE) == "1.0.0"
    assert [mark.version for mark in ModelStore(state).marks()] == ["2.0.0"]  # what was tried, and failed


@pytest.mark.slow
def test_wrong_golden_answers_are_found_by_the_trial(tmp_path: Path, state: Path) -> None:
    folder = small_bundle(tmp_path / "small").folder
    other = small_bundle(tmp_path / "other", seed=9)
    for look in ("first", "second"):
        put_file(folder, f"{look}.f32.tflite", other.net("f32", look))
    with pytest.raises(BundleError, match=r"small 1\.0\.0: f32/first: "):
        install(folder, state)
    assert main(["model", "verify", str(folder)]) == 1


@pytest.mark.slow
def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state"
    state.mkdir()
    box = ["--state", str(state)]
    for version, seed in (("1.0.0", 1), ("1.1.0", 2)):
        folder = small_bundle(tmp_path / version, version=version, seed=seed).folder
        assert main(["model", "install", str(folder), "--trust", PUBLIC, *box]) == 0
    said = capsys.readouterr().out
    assert "small 1.0.0 is active, signed by " in said
    assert "1.0.0 was active; back to it: gateway model rollback small" in said
    assert main(["model", "rollback", "small", *box]) == 0
    assert capsys.readouterr().out == "small 1.0.0 is active; 1.1.0 was\n"
    ModelStore(state).quarantine(mark_for(ModelStore(state).folder("small", "1.1.0"), "it bit"))
    assert main(["model", "list", "small", *box]) == 0
    said = capsys.readouterr().out
    assert "small  1.0.0    active                 acoustic_event  Apache-2.0  box" in said
    assert "small  1.1.0    previous, quarantined  acoustic_event  Apache-2.0  box" in said
    assert "it bit" in said
    assert main(["model", "list", "small", "--json", *box]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["version"], row["state"], row["is_quarantined"]) for row in rows] == [
        ("1.0.0", "active", False),
        ("1.1.0", "previous", True),
    ]
    assert main(["model", "verify", "small", "--json", *box]) == 0
    checks = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {check["verdict"] for check in checks if check["check"] != "network"} == {"ok"}
    assert len([check for check in checks if check["check"] == "network"]) == 1
    assert [check["check"] for check in checks if check["check"].startswith("golden")] == [
        f"golden {variant} {look}" for look in ("first", "second") for variant in ("f32", "int8")
    ]


@pytest.mark.slow
def test_a_broken_package_does_not_stop_its_repair(
    tmp_path: Path, state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(broken_package(tmp_path / "site-packages", "small"))
    folder = small_bundle(tmp_path / "small").folder
    assert main(["model", "verify", str(folder), "--state", str(state)]) == 0
    assert "\nok      trust                     this box trusts the key\n" in capsys.readouterr().out
    assert main(["model", "install", str(folder), "--state", str(state)]) == 0
    assert find_bundle("small", state) == ModelStore(state).folder("small", "1.0.0")


def test_verify_says_whether_the_trial_had_a_network() -> None:
    here, gone = (TrialReport("", "", "", words, {}) for words in ("the network stays in reach", NO_NETWORK))
    assert network_finding(gone) == Finding("network", OK, "the trial had none")
    told = "the trial was not kept from it: the network stays in reach"
    assert network_finding(here) == Finding("network", NOT_ASKED, told)


@pytest.mark.slow
def test_install_says_so_if_the_trial_could_reach_the_network(
    tmp_path: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = small_bundle(tmp_path / "small").folder
    install(folder, state)
    [kept] = (state / "models" / "admitted").iterdir()
    again = ["model", "install", str(folder), "--state", str(state)]
    for words, is_told in ((NO_NETWORK, False), ("the network stays in reach: forbidden", True)):
        kept.write_text(json.dumps(json.loads(kept.read_text()) | {"network": words}))
        assert main(again) == 0
        told = f"the trial was not kept from the network: {words}\n"
        assert (told in capsys.readouterr().out) == is_told
        assert main([*again, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["network"] == words


def test_verify_goes_no_further_than_the_first_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = small_bundle(tmp_path / "small").folder
    rewrite(folder, lambda plain: plain.update(surprise=1))
    assert main(["model", "verify", str(folder), "--state", str(tmp_path)]) == 1
    verdicts = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert verdicts == [
        ["ok", "files"],
        ["ok", "signature"],
        ["-", "trust"],
        ["FAILED", "manifest"],
        ["-", "front"],
        ["-", "lint"],
        ["-", "trial"],
    ]
    shutil.rmtree(folder)
    assert main(["model", "verify", str(folder)]) == 1


def test_a_site_file_may_name_what_only_the_store_has(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "small")
    site = tmp_path / "site.toml"
    site.write_text(
        'box = "elm"\nstate = "state"\n[sensor.mic]\ndriver = "microphone"\nport = "alsa:usb-1209:0001"\n'
        'stages = [{ onset = "9 dB" }, { model = "small" }]\n'
    )
    with pytest.raises(ConfigError, match=r"6:41: no model bundle is called 'small'"):
        read_site(site)
    store = ModelStore(tmp_path / "state")
    store.put("small", "1.0.0", bundle.files)
    store.activate("small", "1.0.0")
    (sensor,) = read_site(site).sensors
    assert sensor.labels[: len(bundle.manifest.labels)] == bundle.manifest.labels


def test_a_makers_key_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "key.json"
    assert main(["model", "key", "--file", str(path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert len(shown["public"]) == 64
    assert json.loads(path.read_text())["secret"] not in json.dumps(shown)
    assert main(["model", "key", "--file", str(path)]) == 0
    assert shown["fingerprint"] in capsys.readouterr().out


def test_verbs_and_boxes_that_do_not_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "verifi"]) == 1
    assert "there is no verb of gateway model 'verifi'; did you mean 'verify'?" in capsys.readouterr().err
    assert main(["model", "install", str(tmp_path), "--state", str(tmp_path / "none")]) == 1
    assert "there is no state folder" in capsys.readouterr().err
    assert main(["model", "install", str(tmp_path), "--trust", "abc", "--state", str(tmp_path)]) == 1
    assert "--trust takes a public key of 64 hex digits" in capsys.readouterr().err
