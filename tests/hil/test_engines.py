"""What an engine makes of a guest's out folder, and how it says what went wrong; no guest is booted."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import gateway_hil
from gateway_hil.engines import (
    NO_RESULT,
    EngineError,
    Job,
    last_lines,
    python_folders,
    read_outcome,
    write_job,
)
from gateway_hil.engines.kernel import UmlKernel, cache_folder, check_config
from gateway_hil.engines.uml import Uml, known_end
from gateway_hil.guest import selfcheck
from gateway_hil.guest.edits import EDITS, Edit, EditFailed, apply

FRAGMENT = "# why\nCONFIG_A=y\n\nCONFIG_B=4\n"


def job(out: Path) -> Job:
    """A job that leaves its results in `out`."""
    return Job(command=("true", "two words", "it's"), folder=out, out=out, environment={"A": "x y"})


class TestOutcome:
    def test_the_guests_status_is_the_outcome(self, tmp_path: Path) -> None:
        (tmp_path / "rc").write_text("3\n")
        outcome = read_outcome(job(tmp_path), 1.5, "")
        assert (outcome.rc, outcome.status, outcome.why, outcome.seconds) == (3, 3, "", 1.5)

    def test_no_status_is_a_failure_with_the_engines_reason(self, tmp_path: Path) -> None:
        outcome = read_outcome(job(tmp_path), 1.0, "still running after 9 s")
        assert (outcome.rc, outcome.status) == (None, NO_RESULT)
        assert outcome.why == "still running after 9 s"

    def test_a_guest_that_ends_in_order_without_a_status_failed_too(self, tmp_path: Path) -> None:
        assert "without a result" in read_outcome(job(tmp_path), 1.0, "").why

    def test_a_status_that_is_cut_off_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "rc").write_text("")
        assert read_outcome(job(tmp_path), 1.0, "").status == NO_RESULT

    def test_results_of_the_last_run_are_not_taken_for_this_ones(self, tmp_path: Path) -> None:
        for name in ("rc", "junit.xml", "console.log"):
            (tmp_path / name).write_text("0\n")
        write_job(job(tmp_path))
        assert read_outcome(job(tmp_path), 1.0, "").status == NO_RESULT
        assert not (tmp_path / "junit.xml").exists()


def test_a_job_is_a_script_that_any_shell_reads_right(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told = Job(
        command=("printf", "%s|", "$A", "it's", "two words"),
        folder=tmp_path,
        out=tmp_path,
        environment={"A": "x; rm y"},
        keep=(Path("/a b"), Path("/c")),
    )
    write_job(told)
    subprocess.run(["/bin/sh", str(tmp_path / "job.sh")], check=True)
    assert capfd.readouterr().out == "$A|it's|two words|"
    assert (tmp_path / "keep").read_text() == "/a b\n/c\n"


def test_what_python_needs_is_kept() -> None:
    kept = python_folders()
    for needed in (sys.prefix, sys.base_prefix, gateway_hil.__file__):
        assert any(Path(needed).resolve().is_relative_to(folder) for folder in kept)


class TestEdits:
    def test_an_edit_changes_what_stands_there_once(self) -> None:
        edit = Edit("why", "a.c", (("one\n", "two\n"), ("two\nx", "three\nx")))
        assert edit.changed("0\none\nx\n") == "0\nthree\nx\n"

    @pytest.mark.parametrize(("text", "times"), [("nothing of it", 0), ("one\none\n", 2)])
    def test_an_edit_refuses_text_that_it_was_not_written_for(self, text: str, times: int) -> None:
        with pytest.raises(EditFailed, match=rf"a\.c: .*'one …'.* is there {times} times.*edit 'why'"):
            Edit("why", "a.c", (("one\n", "two\n"),)).changed(text)

    def test_a_source_that_does_not_fit_is_left_as_it_was(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("one\n")
        (tmp_path / "b").write_text("other\n")
        edits = (Edit("first", "a", (("one\n", "two\n"),)), Edit("second", "b", (("one\n", "two\n"),)))
        with pytest.raises(EditFailed, match="second"):
            apply(tmp_path, edits)
        assert (tmp_path / "a").read_text() == "one\n"

    def test_two_edits_of_one_file_both_count(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("one\n")
        apply(tmp_path, (Edit("x", "a", (("one", "two"),)), Edit("y", "a", (("two", "three"),))))
        assert (tmp_path / "a").read_text() == "three\n"

    def test_a_folder_that_is_no_source_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(EditFailed, match=str(tmp_path)):
            apply(tmp_path)

    def test_no_edit_is_empty(self) -> None:
        assert all(old != new for edit in EDITS for old, new in edit.swaps)


class TestConfig:
    def test_every_option_that_is_asked_for_must_be_there(self) -> None:
        check_config(FRAGMENT, "CONFIG_A=y\n# CONFIG_C is not set\nCONFIG_B=4\n")

    def test_options_that_were_dropped_are_named(self) -> None:
        with pytest.raises(EngineError, match=r"CONFIG_A=y, CONFIG_B=4$"):
            check_config(FRAGMENT, "CONFIG_AA=y\n# CONFIG_A is not set\nCONFIG_B=14\n")


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], UmlKernel]:
    """A kernel of a made-up source, on any machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    (tmp_path / "config").write_text(FRAGMENT)
    (tmp_path / "linux.tar.xz").write_bytes(b"source")
    return lambda: UmlKernel(tmp_path / "config", tmp_path / "linux.tar.xz")


class TestKernel:
    def test_its_name_stands_for_all_that_goes_into_it(
        self, kernel: Callable[[], UmlKernel], tmp_path: Path
    ) -> None:
        first = kernel().path()
        assert first.is_relative_to(cache_folder())
        assert kernel().path() == first
        (tmp_path / "config").write_text(FRAGMENT + "CONFIG_C=y\n")
        second = kernel().path()
        (tmp_path / "linux.tar.xz").write_bytes(b"another source")
        assert len({first, second, kernel().path()}) == 3

    def test_an_edit_more_is_another_kernel(
        self, kernel: Callable[[], UmlKernel], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = kernel().path()
        monkeypatch.setattr("gateway_hil.engines.kernel.EDITS", EDITS[:-1])
        assert kernel().path() != first

    def test_a_built_one_is_taken_as_it_is(self, kernel: Callable[[], UmlKernel]) -> None:
        path = kernel().path()
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
        assert kernel().built(pytest.fail) == path

    def test_without_the_source_it_says_what_to_install(
        self, kernel: Callable[[], UmlKernel], tmp_path: Path
    ) -> None:
        (tmp_path / "linux.tar.xz").unlink()
        with pytest.raises(EngineError, match=r"install linux-source-6\.12 .*bookworm-security"):
            kernel().path()

    def test_on_another_processor_it_says_what_works_there(
        self, kernel: Callable[[], UmlKernel], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("platform.machine", lambda: "aarch64")
        with pytest.raises(EngineError, match=r"x86 only.*aarch64"):
            kernel().path()

    def test_missing_tools_are_named_by_package(
        self, kernel: Callable[[], UmlKernel], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shutil, "which", lambda tool: None if tool in {"bc", "xz"} else tool)
        with pytest.raises(EngineError, match=r"needs bc, xz-utils"):
            kernel().built(print)

    def test_a_source_that_cannot_be_unpacked_leaves_nothing_behind(
        self, kernel: Callable[[], UmlKernel], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shutil, "which", lambda tool: tool)
        with pytest.raises(EngineError, match="cannot be unpacked"):
            kernel().built(lambda text: None)
        assert not kernel().path().exists()
        assert not list(cache_folder().glob("*.building"))

    def test_a_guest_without_a_kernel_is_refused(
        self, kernel: Callable[[], UmlKernel], tmp_path: Path
    ) -> None:
        with pytest.raises(EngineError, match="not built yet"):
            Uml(kernel()).run(job(tmp_path))


class TestConsole:
    def test_an_end_that_is_known_is_explained(self, tmp_path: Path) -> None:
        console = tmp_path / "console.log"
        console.write_text("Checking that ptrace can change system call numbers...check_ptrace failed\n")
        assert "--cap-add=SYS_PTRACE" in known_end(console)
        console.write_text("Kernel panic - not syncing: something else\n")
        assert known_end(console) == ""

    def test_the_last_lines_of_a_console_are_the_last(self, tmp_path: Path) -> None:
        console = tmp_path / "console.log"
        console.write_text("".join(f"{n}\n" for n in range(10_000)))
        assert last_lines(console, 2) == "9998\n9999"
        assert last_lines(tmp_path / "none") == ""


class TestSelfCheck:
    def test_this_machine_computes_right(self) -> None:
        assert selfcheck.spectrum_is_right(7)
        assert selfcheck.product_is_right()

    def test_a_wrong_sum_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        right = np.fft.fft
        monkeypatch.setattr(np.fft, "fft", lambda wave: right(wave) * (1 + 1e-11))
        assert not selfcheck.spectrum_is_right(7)
