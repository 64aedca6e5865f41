"""One run of the demo, from making the keys to drawing up the account."""

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from gateway.errors import GatewayError
from gateway.keys import enrolment_path, read_enrolment, write_enrolment
from gateway.link import ask_status
from gateway_hil.demo.account import Account, draw_up
from gateway_hil.demo.processes import Census, DemoError, Running, gateway
from gateway_hil.demo.relay import Relay
from gateway_hil.demo.screen import Screen, View
from gateway_hil.demo.street import BOX, Street
from gateway_hil.demo.timeline import Fault, Timeline

_LEAD_S: Final = 6.0  # from starting the box to the scene's beginning
_HUB_READY_S: Final = 30.0
_HUB_DOWN_S: Final = 1.0
_DRAIN_S: Final = 30.0
_QUIET_TEXTS: Final = frozenset({"alert kept"})


class Play:
    """Everything that lives while the demo runs."""

    def __init__(self, story: Timeline, screen: Screen, view: View, folder: Path, seed: int) -> None:
        self._story = story
        self._screen = screen
        self._view = view
        self._hub_folder = folder / "hub"
        self._street = Street(folder, story, seed)
        self._census = Census(self._street.state / "plan.json")
        self._core_said: list[dict[str, Any]] = []
        self._hub_ready = asyncio.Event()
        self._hub = Running("hub", self._on_hub, folder / "hub.log")
        self._box = Running("box", self._on_box, folder / "box.log")
        self._tail = Running("tail", self._on_record, folder / "tail.log")
        self._start_ns = 0

    async def run(self) -> Account:
        """Play the story; the account. Raises DemoError where a step fails."""
        say = self._screen.say
        say("synthesising the street")
        await asyncio.to_thread(self._street.record)
        port = _free_port_pair()
        say("making a hub and its keys; enrolling the box with a one-time token")
        await gateway("hub", "init", str(self._hub_folder), "--bind", f"tcp://127.0.0.1:{port}")
        await self._start_hub()
        try:
            await self._enrol()
            async with Relay(port) as relay:
                self._send_through(relay)
                with self._street:
                    await self._perform(relay)
                tcp_bytes = relay.bytes_to_hub
            return await self._account(tcp_bytes)
        finally:
            for process in (self._tail, self._box, self._hub):
                await process.stop()

    async def _start_hub(self) -> None:
        self._hub_ready.clear()
        await self._hub.start("hub", "run", str(self._hub_folder))
        try:
            async with asyncio.timeout(_HUB_READY_S):
                await self._hub_ready.wait()
        except TimeoutError:
            raise DemoError(f"the hub was not ready within {_HUB_READY_S:.0f} s; see hub.log") from None

    async def _enrol(self) -> None:
        printed = await gateway("hub", "token", str(self._hub_folder), "--box", BOX)
        words = printed.split()
        hub, token = words[words.index("enrol") + 1 : words.index("enrol") + 3]
        self._street.state.mkdir(mode=0o700)
        await gateway("enrol", hub, token, "--box", BOX, "--state", str(self._street.state))

    def _send_through(self, relay: Relay) -> None:
        """Have the box reach its hub by the road that will be cut."""
        path = enrolment_path(self._street.state)
        write_enrolment(path, replace(read_enrolment(path), hub=f"tcp://127.0.0.1:{relay.port}"))

    async def _perform(self, relay: Relay) -> None:
        self._start_ns = time.monotonic_ns() + int(_LEAD_S * 1e9)
        self._street.write_site(self._start_ns)
        await self._tail.start(
            "hub", "tail", str(self._hub_folder), "--json", "--from-start", from_stdout=True
        )
        await self._box.start("run", str(self._street.site))
        self._screen.say("box started: core, supervisor, and one worker a port")
        async with asyncio.TaskGroup() as acts:
            watch = acts.create_task(self._watch(relay))
            lamp = acts.create_task(self._switch_lamp())
            for fault in self._story.faults:
                await self._until(fault.at_s)
                self._screen.say(fault.text, "bold red")
                await self._do(fault, relay)
            await lamp
            await self._until(self._story.seconds + 1.0)
            self._screen.say("the scene is over; waiting for the hub to have everything")
            await self._drained()
            await self._box.stop()
            watch.cancel()

    async def _do(self, fault: Fault, relay: Relay) -> None:
        match fault.verb, fault.victim:
            case "unplug", sensor:
                self._street.unplug(sensor)
                await asyncio.sleep(fault.for_s)
                self._street.replug(sensor)
                self._screen.say(f"{sensor} sensor plugged in again", "green")
            case "cut", _:
                await relay.cut()
                await asyncio.sleep(fault.for_s)
                await relay.mend()
                self._screen.say("uplink mended", "green")
            case "kill", "hub":
                await self._hub.stop(signal.SIGKILL)
                await asyncio.sleep(_HUB_DOWN_S)
                await self._start_hub()
                self._screen.say("hub started again", "green")
            case "kill", process:
                self._census.kill(process)

    async def _switch_lamp(self) -> None:
        for at_s, command in self._story.commands:
            await self._until(at_s)
            printed = await gateway("command", "--site", str(self._street.site), "lamp", command)
            self._screen.say(f"gateway command lamp {command}: {printed.strip()}", "cyan")

    async def _until(self, scene_s: float) -> None:
        await asyncio.sleep(max(0.0, scene_s - self._now_s()))

    def _now_s(self) -> float:
        return (time.monotonic_ns() - self._start_ns) / 1e9

    async def _watch(self, relay: Relay) -> None:
        """Keep the screen's numbers fresh."""
        while True:
            self._view.now_s = self._now_s()
            self._census.take({"hub": self._hub.pid, "run": self._box.pid})
            self._view.pids, self._view.restarts = self._census.pids, self._census.restarts
            self._view.memory_mib = self._census.memory_mib
            status = await self._status()
            if status:
                self._view.lanes = status["lanes"]
                states = {c["state"] for c in status["uplink"].values()}
                self._view.uplink = "cut" if relay.is_cut else " / ".join(sorted(states))
            self._screen.show()
            await asyncio.sleep(0.25)

    async def _status(self) -> dict[str, Any]:
        with contextlib.suppress(GatewayError):
            return await asyncio.to_thread(ask_status, self._street.state / "run" / "core.sock")
        return {}

    async def _drained(self) -> None:
        """Wait until the hub has what core kept, but for what came in the last moment."""
        deadline = time.monotonic() + _DRAIN_S
        while time.monotonic() < deadline:
            status = await self._status()
            waiting = [lane["produced"] - lane["acked"] for lane in status.get("lanes", {}).values()]
            if waiting and max(waiting) <= 20 and waiting[0] == 0:
                return
            await asyncio.sleep(0.1)
        raise DemoError(f"the hub did not get everything within {_DRAIN_S:.0f} s; see hub.log and box.log")

    def _on_hub(self, said: Mapping[str, Any]) -> None:
        if said.get("event") == "ready":
            self._hub_ready.set()
        elif said.get("level") in {"warning", "error"}:
            self._screen.say(f"hub: {said['text']}", "yellow")

    def _on_box(self, said: dict[str, Any]) -> None:
        if said.get("unit") == "core":
            self._core_said.append(said)
        if said.get("level") in {"warning", "error"} and said.get("text") not in _QUIET_TEXTS:
            self._screen.say(f"{said.get('unit')}: {str(said.get('text'))[:110]}", "yellow")

    def _on_record(self, record: Mapping[str, Any]) -> None:
        self._view.at_hub += 1
        body = record.get("body", {})
        if record["kind"] == "reading":
            values = {name: value for name, value in body["values"].items() if value is not None}
            self._view.latest[record["sensor"]] = "  ".join(f"{k} {v}" for k, v in list(values.items())[:5])
        elif record["kind"] == "event":
            late_ms = (record["received_ns"] - record["t_wall_ns"]) / 1e6
            at_s = (record["t_mono_ns"] - self._start_ns) / 1e9
            what = f"{body['label'].upper()} at {at_s:.2f} s, score {body['score']:.2f}"
            text = f"{what}, at the hub after {late_ms:.0f} ms"
            self._screen.say(text, "bold magenta")
        elif record["kind"] == "health":
            self._screen.say(f"health of {record['sensor']}: {body['code']} {body['for_s'] or ''}", "blue")

    async def _account(self, tcp_bytes: int) -> Account:
        hub = str(self._hub_folder)
        audit = json.loads(await gateway("hub", "audit", BOX, hub, "--json"))
        events, health = [
            [
                json.loads(line)
                for line in (await gateway("hub", "query", hub, "--kind", kind, "--json")).splitlines()
            ]
            for kind in ("event", "health")
        ]
        account = draw_up(
            self._story, self._start_ns, self._core_said, audit, events, health, self._hub_folder, tcp_bytes
        )
        account.memory_mib = dict(sorted(self._census.memory_mib.items()))
        account.restarts = dict(self._census.restarts)
        return account


def _free_port_pair() -> int:
    """A port that is free on loopback together with the next one, which the hub takes for enrolment."""
    for _ in range(100):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return port
    raise DemoError("no two free ports next to each other on loopback")


async def play(story: Timeline, *, quiet: bool, keep: bool, seed: int) -> tuple[Account, Screen]:
    """Run the demo in a folder of its own, removed at the end unless `keep`."""
    # /var/tmp, not /tmp: it is on a real disk where /tmp is often in memory.
    folder = Path(tempfile.mkdtemp(prefix="pole-", dir="/var/tmp"))
    view = View(story.seconds)
    screen = Screen(view, quiet=quiet)
    try:
        with screen:
            account = await Play(story, screen, view, folder, seed).run()
    except BaseException:
        keep = True  # what went wrong is in its logs
        screen.say(f"logs and state are in {folder}")
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    return account, screen
