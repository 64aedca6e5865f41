"""Serial ports on real ptys: unplug, slow writers, noise, devices that do not take bytes."""

import asyncio
import errno
import os
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from line_drivers import Asked, Number, Packets
from loops import in_loop
from plug import Plug

from gateway.capture import Received, Sent
from gateway.driver import SerialDriver
from gateway.errors import ConfigError, PortGone
from gateway.ports.adapters import Adapter, adapters, find_device, match_usb
from gateway.ports.serial import OUT_MAX, SerialPort
from gateway.ports.url import UsbName


@pytest.fixture
def plug(tmp_path: Path) -> Iterator[Plug]:
    plug = Plug(tmp_path / "device")
    yield plug
    if plug.fd >= 0:
        os.close(plug.fd)


async def take(frames: AsyncGenerator[tuple[int, bytes], None], count: int) -> list[bytes]:
    async with asyncio.timeout(5):
        return [(await anext(frames))[1] for _ in range(count)]


def port_on(plug: Plug, driver: type[SerialDriver] = Number) -> SerialPort:
    return SerialPort(str(plug.path), driver())


@in_loop
async def test_lines_come_stamped_at_their_read(plug: Plug) -> None:
    port = port_on(plug)
    await port.open()
    async with aclosing(port.frames()) as frames:
        before = time.monotonic_ns()
        plug.says(b"1\r\n2\n")
        (first_ns, first), (second_ns, second) = [await anext(frames) for _ in range(2)]
        assert (first, second) == (b"1", b"2")
        assert before <= first_ns == second_ns <= time.monotonic_ns()
    port.close()


@in_loop
async def test_a_line_stays_whole_however_slowly_it_comes(plug: Plug) -> None:
    port = port_on(plug)
    await port.open()
    async with aclosing(port.frames()) as frames:
        waiting = asyncio.ensure_future(anext(frames))
        heard = asyncio.Semaphore(0)
        port.tap = lambda t_ns, what: heard.release()
        for octet in b"12345":
            plug.says(bytes([octet]))
            await heard.acquire()
        assert not waiting.done()
        plug.says(b"\n")
        assert (await waiting)[1] == b"12345"
    port.close()


@in_loop
async def test_half_a_line_before_an_unplug_never_meets_what_comes_after(plug: Plug) -> None:
    port = port_on(plug)
    await port.open()
    async with aclosing(port.frames()) as frames:
        plug.says(b"1\n99")
        assert await take(frames, 1) == [b"1"]
        plug.pull()
        with pytest.raises(PortGone, match="check the plug"):
            await take(frames, 1)
    port.close()
    assert port.counters["cut_bytes"] == 2
    plug.push()
    await port.open()
    async with aclosing(port.frames()) as frames:
        plug.says(b"2\n")
        assert await take(frames, 1) == [b"2"]
    port.close()


@in_loop
async def test_a_pulled_device_is_noticed_when_it_is_pushed_in_again(plug: Plug) -> None:
    port = port_on(plug)
    await port.open()
    plug.pull()
    async with aclosing(port.frames()) as frames:
        with pytest.raises(PortGone):
            await take(frames, 1)
    port.close()
    with pytest.raises(PortGone, match="is not there"):
        await port.open()
    loop = asyncio.get_running_loop()
    loop.call_later(0.05, plug.push)
    started = loop.time()
    await port.back(30)
    assert loop.time() - started < 2
    await port.open()
    port.close()


@in_loop
async def test_a_port_that_did_not_change_is_waited_for_all_the_time(plug: Plug) -> None:
    port = port_on(plug)
    await port.open()
    loop = asyncio.get_running_loop()
    started = loop.time()
    await port.back(0.06)
    assert loop.time() - started >= 0.05
    port.close()


@in_loop
async def test_a_port_that_waits_does_not_look_again_and_again(plug: Plug, monkeypatch) -> None:
    looks = []
    monkeypatch.setattr("gateway.ports.serial.look", lambda place: looks.append(place))
    port = port_on(plug)
    await port.open()
    port.close()
    (plug.path.parent / "other").touch()
    await port.back(0.4)
    assert len(looks) == 3  # at open, before it slept and after


@in_loop
async def test_what_was_opened_and_received_is_counted(plug: Plug) -> None:
    port = port_on(plug)
    for _ in range(2):
        await port.open()
        async with aclosing(port.frames()) as frames:
            plug.says(b"12\n")
            await take(frames, 1)
        port.close()
    assert (port.counters["opened"], port.counters["bytes"]) == (2, 6)


@in_loop
async def test_a_port_that_another_program_holds_says_so(plug: Plug) -> None:
    first, second = port_on(plug), port_on(plug)
    await first.open()
    with pytest.raises(PortGone, match="another program"):
        await second.open()
    first.close()


@in_loop
async def test_packets_are_found_in_noise_and_the_noise_is_counted(plug: Plug) -> None:
    port = port_on(plug, Packets)
    await port.open()
    async with aclosing(port.frames()) as frames:
        plug.says(b"\x00\x01\xaa\x01\x02\x03" + b"\xaa\x01\x02\xff" + b"\xaa\x07\x00\x07" + b"\xaa\x08")
        assert await take(frames, 2) == [b"\xaa\x01\x02\x03", b"\xaa\x07\x00\x07"]
        plug.says(b"\x01\x09")
        assert await take(frames, 1) == [b"\xaa\x08\x01\x09"]
    port.close()
    assert port.counters["skipped_bytes"] == 2 + 4
    assert port.counters["bad_packets"] == 1


@in_loop
async def test_a_polled_device_is_greeted_once_and_asked_again_and_again(plug: Plug) -> None:
    port = port_on(plug, Asked)
    await port.open()
    heard = bytearray()
    thrice = asyncio.Event()

    def read() -> None:
        heard.extend(os.read(plug.fd, 1000))
        if heard.count(b"?") >= 3:
            thrice.set()

    loop = asyncio.get_running_loop()
    loop.add_reader(plug.fd, read)
    await thrice.wait()
    loop.remove_reader(plug.fd)
    port._out += b"stuck"
    port._ask(loop.time())
    assert port.counters["skipped_asks"] == 1
    assert heard.startswith(b"hello\nagain\n?\n?\n")
    port.close()


@in_loop
async def test_a_closed_port_asks_no_more(plug: Plug) -> None:
    port = port_on(plug, Asked)
    await port.open()
    port.close()
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    await asyncio.sleep(1.5 * Asked.every_s)
    assert complaints == []


@in_loop
async def test_a_device_that_takes_no_bytes_blocks_nobody(plug: Plug, monkeypatch) -> None:
    monkeypatch.setattr("gateway.ports.serial.SEND_TIMEOUT_S", 0.05)
    port = port_on(plug)
    await port.open()
    with pytest.raises(PortGone, match="takes no bytes"):
        for _ in range(20):
            await port.send(Number(), bytes(OUT_MAX))
    assert port.counters["unsent_bytes"] > 0
    plug.says(b"5\n")
    async with aclosing(port.frames()) as frames:
        assert await take(frames, 1) == [b"5"]
    port.close()


@in_loop
async def test_bytes_that_were_half_taken_are_finished_when_the_device_reads_on(plug: Plug) -> None:
    port = port_on(plug)
    await port.open()
    os.set_blocking(plug.fd, False)
    sent = os.urandom(40 * OUT_MAX)
    read = bytearray()
    loop = asyncio.get_running_loop()

    async def send() -> None:
        for start in range(0, len(sent), OUT_MAX):
            await port.send(Number(), sent[start : start + OUT_MAX])

    more = asyncio.Event()

    def take_some() -> None:
        read.extend(os.read(plug.fd, 3000))
        more.set()

    loop.call_later(0.05, loop.add_reader, plug.fd, take_some)
    async with asyncio.timeout(5):
        await send()
        while len(read) < len(sent):
            await more.wait()
            more.clear()
    loop.remove_reader(plug.fd)
    assert bytes(read) == sent
    port.close()


@in_loop
async def test_a_slow_consumer_makes_the_kernel_wait_and_loses_nothing(plug: Plug, monkeypatch) -> None:
    monkeypatch.setattr("gateway.ports.serial.READY_MAX", 2)
    port = port_on(plug)
    await port.open()
    reads = asyncio.Semaphore(0)
    port.tap = lambda t_ns, what: reads.release()
    for number in range(6):
        plug.says(b"%d\n" % number)
        if number < 2:
            await reads.acquire()
    for _ in range(5):
        await asyncio.sleep(0)
    assert reads.locked()
    async with aclosing(port.frames()) as frames:
        assert await take(frames, 6) == [b"%d" % number for number in range(6)]
    port.close()


@in_loop
async def test_a_tap_hears_both_ways(plug: Plug) -> None:
    port = port_on(plug)
    heard: list[Received | Sent] = []
    port.tap = lambda t_ns, what: heard.append(what)
    await port.open()
    await port.send(Asked(), b"ask")
    plug.says(b"7\n")
    async with aclosing(port.frames()) as frames:
        await take(frames, 1)
    port.close()
    assert heard == [Sent(b"ask"), Received(b"7\n")]


@in_loop
async def test_sending_on_a_closed_port_is_port_gone(plug: Plug) -> None:
    port = port_on(plug)
    with pytest.raises(PortGone, match="not open"):
        await port.send(Number(), b"x")


@in_loop
async def test_a_line_that_no_uart_can_do_is_a_config_error(plug: Plug) -> None:
    port = port_on(plug)
    port._driver.line = "9600 9n1"
    with pytest.raises(ConfigError, match="9600 8n1"):
        await port.open()


def test_adapters_are_found_in_sysfs_with_their_numbers(tmp_path: Path, monkeypatch) -> None:
    usb = tmp_path / "usb1" / "1-1"
    (usb / "1-1:1.0" / "tty" / "ttyACM3").mkdir(parents=True)
    for name, word in (("idVendor", "1546"), ("idProduct", "01a8"), ("serial", "E1")):
        (usb / name).write_text(f"{word}\n")
    ttys = tmp_path / "tty"
    ttys.mkdir()
    (ttys / "ttyACM3").symlink_to(usb / "1-1:1.0" / "tty" / "ttyACM3")
    (tmp_path / "platform" / "ttyS0").mkdir(parents=True)
    (ttys / "ttyS0").symlink_to(tmp_path / "platform" / "ttyS0")
    monkeypatch.setattr("gateway.ports.adapters._TTYS", ttys)
    monkeypatch.setattr("gateway.ports.adapters.BY_PATH", tmp_path / "by-path")
    assert adapters() == [Adapter("/dev/ttyACM3", 0x1546, 0x01A8, "E1", None)]
    assert find_device("usb-1546:01a8-E1") == "/dev/ttyACM3"
    with pytest.raises(PortGone, match="no adapter usb-1546:01a8-E2"):
        find_device("usb-1546:01a8-E2")


class Fleeting(type(Path())):  # type: ignore[misc]
    """A folder that udev takes away at the moment it is read."""

    def iterdir(self) -> Iterator[Path]:
        self.rmdir()
        return super().iterdir()


def test_udev_may_take_its_folder_away_while_it_is_read(tmp_path: Path, monkeypatch) -> None:
    folder = Fleeting(tmp_path, "by-path")
    folder.mkdir()
    monkeypatch.setattr("gateway.ports.adapters.BY_PATH", folder)
    monkeypatch.setattr("gateway.ports.adapters._TTYS", tmp_path / "tty")
    assert adapters() == []


class ClosedFolder(type(Path())):  # type: ignore[misc]
    """A path in a folder that this user may not search: root, as whom tests may run, may search all."""

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        raise PermissionError(errno.EACCES, "Permission denied")


def test_a_path_in_a_closed_folder_is_left_to_the_opening_to_refuse(monkeypatch) -> None:
    monkeypatch.setattr("gateway.ports.adapters.Path", ClosedFolder)
    assert find_device("/closed/tty") == "/closed/tty"


ONE = Adapter("/dev/ttyUSB0", 0x1A86, 0x7523, None, "pci-1")
TWIN = Adapter("/dev/ttyUSB1", 0x1A86, 0x7523, None, "pci-2")
NAMED = Adapter("/dev/ttyUSB2", 0x067B, 0x2303, "A1B2", None)


def test_an_adapter_is_matched_by_its_ids_and_serial_number() -> None:
    assert match_usb(UsbName(0x1A86, 0x7523, None), [ONE, NAMED]) == "/dev/ttyUSB0"
    assert match_usb(UsbName(0x067B, 0x2303, "A1B2"), [ONE, NAMED]) == "/dev/ttyUSB2"


def test_twins_are_not_guessed_between() -> None:
    with pytest.raises(PortGone, match=r"serial number.*socket") as caught:
        match_usb(UsbName(0x1A86, 0x7523, None), [ONE, TWIN])
    assert "path/pci-1" in str(caught.value)


@pytest.mark.parametrize("name", [UsbName(0x067B, 0x2303, "other"), UsbName(0x067B, 0x2304, None)])
def test_an_adapter_that_is_not_plugged_in_is_named(name: UsbName) -> None:
    with pytest.raises(PortGone, match="no adapter usb-067b"):
        match_usb(name, [ONE, NAMED])
