"""BlueZ's radio where there is no BlueZ: what it tells a person, and that its libraries tell nothing."""

import asyncio
import logging
import socket
from pathlib import Path

import pytest
import virtualtime
from dbus_fast import Message, MessageType

from gateway.errors import PortGone
from gateway.ports.bluez import BluezRadio, _said
from gateway.ports.bluezbus import BluezBus, _advice


def test_a_box_without_d_bus_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/no-bus")

    async def ask() -> None:
        radio = BluezRadio()
        with pytest.raises(PortGone, match=r"D-Bus cannot be reached .*needs it and bluez"):
            await radio.adapters()
        await radio.changed(0.01)
        await radio.close()

    asyncio.run(ask())


def test_a_bus_that_nobody_answers_on_is_gone_and_is_not_asked_on_and_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/bus")

    async def ask() -> None:
        loop, bus = asyncio.get_running_loop(), BluezBus(lambda name, why: None)
        bus._changed.set()  # bluetoothd stopped, say: whoever waits for it must wait all the same
        with pytest.raises(PortGone, match=r"D-Bus cannot be reached \(no answer\)"):
            await bus.adapters()
        asked_s = loop.time()
        await bus.changed(5)
        assert loop.time() == asked_s + 5

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{tmp_path}/bus")
        listening.listen()
        virtualtime.run(ask())


@pytest.mark.parametrize(
    ("name", "text", "advice"),
    [
        ("org.freedesktop.DBus.Error.ServiceUnknown", "", "systemctl start bluetooth"),
        ("org.freedesktop.DBus.Error.AccessDenied", "", "group bluetooth"),
        ("org.freedesktop.DBus.Error.UnknownObject", "", "check its plug"),
        ("org.bluez.Error.Failed", "Blocked through rfkill", "rfkill unblock"),
        ("org.bluez.Error.NotReady", "Resource Not Ready", r"BlueZ refused \(Resource Not Ready\)"),
    ],
)
def test_an_error_becomes_advice(name: str, text: str, advice: str) -> None:
    error = Message(
        message_type=MessageType.ERROR,
        error_name=name,
        reply_serial=1,
        signature="s" if text else "",
        body=[text] if text else [],
    )
    with pytest.raises(PortGone, match=advice):
        raise PortGone(_advice(error))


def test_an_error_is_told_on_one_line_without_other_peoples_advice() -> None:
    assert _said(ValueError("no slot\nleft; buy a proxy")) == "no slot left"
    assert _said(TimeoutError()) == "TimeoutError"


@pytest.mark.parametrize(
    "name", ["bleak.backends.bluezdbus.manager", "bleak_retry_connector", "dbus_fast.aio"]
)
def test_libraries_log_no_addresses_even_when_debugging(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        logging.getLogger(name).error("heard A4:C1:38:00:00:99")
    assert "A4:C1" not in caplog.text
