"""The files of a new driver, from the templates in drivers/template: names filled in, nothing overwritten.

A template is a whole driver that works, of the made-up device MAKER MODEL; its names are replaced as words.
"""

import keyword
import re
import subprocess
import sys
import tomllib
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import gateway
from gateway.errors import ConfigError
from gateway.plugins import DRIVERS

EMULATORS: Final = "gateway.emulators"
KINDS: Final = ("serial", "ble", "gpio", "modbus")
CASE: Final = "data-sheet"
_OURS: Final = "pole-gateway"
_DEVICE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .,+/()_-]{0,39}")
_DRIVER_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SCHEMES: Final = {"serial": "serial:usb-1a86:7523", "modbus": "serial:usb-1a86:7523", "ble": "ble:hci0"}


@dataclass(frozen=True, slots=True)
class Names:
    """What a device is called: by its maker, in site files, as a module and as a class."""

    device: str
    driver: str
    module: str
    cls: str


@dataclass(frozen=True, slots=True)
class Made:
    """What was written: the project's folder, its files relative to it, driver and capture among them."""

    folder: Path
    files: tuple[Path, ...]
    driver: Path
    capture: Path


def names_of(device: str, driver: str = "") -> Names:
    """Names for a device, like "Gill WindSonic"; `driver` if it is to have another than gill-windsonic.

    Raises ConfigError if no name can be made of it.
    """
    ascii_only = unicodedata.normalize("NFKD", " ".join(device.split())).encode("ascii", "ignore").decode()
    if not _DEVICE.fullmatch(ascii_only):
        raise ConfigError(
            f"{device!r} is no device's name: up to 40 letters, digits, blanks and . , + / ( ) _ -"
        )
    words = re.findall(r"[A-Za-z0-9]+", driver or ascii_only)
    name = driver or "-".join(words).lower()
    if not _DRIVER_NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is no driver's name: a-z, 0-9 and -, beginning with a letter; give one with --name"
        )
    module, cls = name.replace("-", "_"), "".join(word[0].upper() + word[1:] for word in words)
    if keyword.iskeyword(module) or keyword.iskeyword(cls):
        raise ConfigError(f"{name!r} is a word of Python's own; give another name with --name")
    return Names(ascii_only, name, module, cls)


def checkout_at(folder: Path) -> Path | None:
    """The checkout of this project that holds a folder, if one does."""
    for place in (folder.absolute(), *folder.absolute().parents):
        try:
            project = tomllib.loads((place / "pyproject.toml").read_text("utf-8")).get("project", {})
        except (OSError, tomllib.TOMLDecodeError):
            continue
        if project.get("name") == _OURS and (place / "drivers" / "template").is_dir():
            return place
    return None


def into_checkout(names: Names, kind: str, root: Path) -> Made:
    """Add a driver, its emulator and a case to a checkout, and both to its entry points."""
    template = _template()
    case = Path("tests/drivers") / names.driver / CASE
    driver = Path("drivers/gateway_drivers") / f"{names.module}.py"
    emulator = Path("hil/gateway_hil/emulators") / f"{names.module}.py"
    texts = _case(template / kind, case, names)
    texts[driver] = _filled(template / kind / "new_sensor.py", names)
    texts[emulator] = _filled(template / kind / "new_sensor_emulator.py", names)
    project = root / "pyproject.toml"
    text = project.read_text("utf-8")
    text = with_entry(text, DRIVERS, names.driver, f"gateway_drivers.{names.module}:{names.cls}")
    text = with_entry(text, EMULATORS, names.driver, f"gateway_hil.emulators.{names.module}:{names.cls}")
    _write(root, texts)
    project.write_text(text, "utf-8")
    return Made(root, (*texts, Path("pyproject.toml")), driver, case / "capture.txt")


def into_package(names: Names, kind: str, folder: Path) -> Made:
    """Make a project of its own that holds a driver, its emulator, a case and a test that runs the kit."""
    template = _template()
    if find_spec(names.module) is not None:
        raise ConfigError(f"a module {names.module} is installed already; give another name with --name")
    case = Path("tests/drivers") / names.driver / CASE
    driver = Path("src") / f"{names.module}.py"
    texts = _case(template / kind, case, names)
    texts[driver] = _filled(template / kind / "new_sensor.py", names)
    texts[Path("src") / f"{names.module}_emulator.py"] = _filled(
        template / kind / "new_sensor_emulator.py", names
    )
    texts[Path("tests") / f"test_{names.module}.py"] = _filled(
        template / "package/tests/test_new_sensor.py", names
    )
    needed = {"ble": "pole-gateway[ble]", "gpio": "pole-gateway[gpio]", "modbus": "pole-gateway[modbus]"}
    project = _filled(template / "package/pyproject.toml", names)
    texts[Path("pyproject.toml")] = project.replace(
        'dependencies = ["pole-gateway"]', f'dependencies = ["{needed.get(kind, _OURS)}"]'
    )
    readme = _filled(template / "package/README.md", names)
    port = f'port = "{_SCHEMES.get(kind, "gpio:gpiochip0")}"'
    needs = {"ble": '\naddress = "A4:C1:38:00:00:01"', "gpio": '\nline = "GPIO17"'}
    texts[Path("README.md")] = readme.replace('port = "PORT"', port + needs.get(kind, ""))
    _write(folder, texts)
    return Made(folder, tuple(texts), driver, case / "capture.txt")


def with_entry(project: str, group: str, name: str, place: str) -> str:
    """The text of a pyproject.toml with one more entry point, in the order that the table has.

    Raises ConfigError if it has one of that name.
    """
    points = tomllib.loads(project)["project"].get("entry-points", {}).get(group, {})
    if name in points:
        raise ConfigError(f"pyproject.toml names {name!r} in {group} already; give another with --name")
    entry = f'{name} = "{place}"'
    lines = project.splitlines()
    header = f'[project.entry-points."{group}"]'
    if header not in lines:
        at = lines.index("[project.scripts]") if "[project.scripts]" in lines else len(lines)
        return "\n".join([*lines[:at], header, entry, "", *lines[at:]]) + "\n"
    first = lines.index(header) + 1
    end = first
    while end < len(lines) and not lines[end].startswith("["):
        end += 1
    while not lines[end - 1].strip() or lines[end - 1].startswith("#"):  # a comment is of what follows it
        end -= 1
    keys = list(points)
    after = [i for i in range(first, end) if lines[i].partition(" ")[0] > name]
    at = after[0] if keys == sorted(keys) and after else end
    return "\n".join([*lines[:at], entry, *lines[at:]]) + "\n"


def install(folder: Path) -> str:
    """Make the installed `gateway` know a project's entry points; why it cannot be done here, or nothing."""
    options = ("-q", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pip", "install", *options, "-e", str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return ""
    said = [line for line in done.stderr.splitlines() if line.strip()]
    return said[-1].strip() if said else f"pip ended with status {done.returncode}"


def _template() -> Path:
    """Where the templates are: in the checkout that this is installed from, or where the wheel put them."""
    beside = Path(gateway.__file__).parents[1] / "drivers" / "template"
    if beside.is_dir():
        return beside
    for file in distribution(_OURS).files or ():
        if file.as_posix().endswith("share/pole-gateway/template/package/pyproject.toml"):
            return Path(str(file.locate())).resolve().parents[1]
    raise ConfigError("the templates are missing from this installation; install pole-gateway again")


def _case(template: Path, case: Path, names: Names) -> dict[Path, str]:
    texts = {case / name: _filled(template / name, names) for name in ("capture.txt", "expected.json")}
    today = datetime.now(UTC).date().isoformat()
    capture = texts[case / "capture.txt"]
    texts[case / "capture.txt"] = capture.replace("when: 2026-01-01", f"when: {today}")
    return texts


def _filled(path: Path, names: Names) -> str:
    text = path.read_text("utf-8")
    if path.suffix == ".py" and re.search(rf"\b{names.cls}\b", text):
        raise ConfigError(f"the template has a {names.cls} of its own; give another name with --name")
    words = {
        "MAKER MODEL": names.device,
        "new-sensor": names.driver,
        "new_sensor": names.module,
        "NewSensor": names.cls,
    }
    return re.sub("|".join(words), lambda match: words[match[0]], text)


def _write(root: Path, texts: dict[Path, str]) -> None:
    """All of the files, or none if one of them is there."""
    there = [str(path) for path in texts if (root / path).exists()]
    if there:
        raise ConfigError(f"{', '.join(there)} in {root} would be overwritten; give another name with --name")
    try:
        for path, text in texts.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            with (root / path).open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise ConfigError(
            f"cannot write in {root} ({error.strerror}); name a folder of yours with --into"
        ) from None
