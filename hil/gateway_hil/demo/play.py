"""One run of the demo, from making the keys to drawing up the account."""

import asyncio
import contextlib
import json
import signal
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
from gateway_hil.demo.readings import Readings
from gateway_hil.demo.relay import Relay
from gateway_hil.demo.screen import Screen
from gateway_hil.demo.street import BOX, Street
from gateway_hil.demo.timeline import Fault, Timeline
from gateway_hil.demo.view import View
from gateway_hil.demo.voices import Voices
from gateway_hil.freeports import free_port_pair

_LEAD_S: Final = 6.0  # from starting the box to the scene's beginning; longer where the machine is busy:
_LEAD_HUBS: Final = 6.0  # this many times what the hub took to start
_HUB_READY_S: Final = 30.0
_HUB_DOWN_S: Final = 1.0
_LOOK_S: Final = 0.25  # between two looks at processes and numbers
_DRAIN_S: Final = 30.0
_LOUD: Final = frozenset({"warning", "error", "critical"})


class Play:
    """Everything that lives while the demo runs."""

    def __init__(self, story: Timeline, screen: Screen, view: View, folder: Path, seed: int) -> None:
        self._story = story
        self._screen = screen
        self._view = view
        self._hub_folder = folder / "hub"
        self._street = Street(folder, story, seed)
        plan = self._street.state / "plan.json"
        self._census = Census(plan)
        self._readings = Readings(plan)
        self._voices = Voices(folder, self._say_later, view.stamp)
        self._core_said: list[dict[str, Any]] = []
        self._hub_ready = asyncio.Event()
        self._hub_took_s = 0.0
        self._hub = Running("hub", self._on_hub, folder / "hub.log")
        self._box = Running("box", self._on_box, folder / "box.log")
        self._tail = Running("hub's tail", self._on_record, folder / "tail.log")

    async def run(self) -> Account:
        """Play the story; the account. Raises DemoError where a step fails or a process ends by itself."""
        say = self._say
        say("synthesising the street")
        await asyncio.to_thread(self._street.record)
        port = free_port_pair()
        say("making a hub and its keys; enrolling the box with a one-time token")
        await gateway("hub", "init", str(self._hub_folder), "--bind", f"tcp://127.0.0.1:{port}")
        try:
            await self._start_hub()
            await self._enrol()
            async with Relay(port) as relay:
                self._send_through(relay)
                with self._street:
                    try:
                        await self._perform(relay)
                    finally:
                        await self._box.stop()  # before its sensors are taken away
                tcp_bytes = relay.bytes_to_hub
            return await self._account(tcp_bytes)
        except BaseExceptionGroup as group:  # acts of the play fail in groups; a person wants one line
            errors, bugs = group.split(GatewayError)
            if bugs is not None or errors is None:
                raise
            raise _first(errors) from None
        finally:
            self._voices.speak()
            for process in (self._tail, self._box, self._hub):
                await process.stop()

    def _say(self, text: str, style: str = "") -> None:
        self._voices.speak()  # what was heard before comes before
        self._screen.say(text, style)

    def _say_later(self, text: str, stamp: str) -> None:
        self._screen.say(text, "yellow", stamp)

    async def _start_hub(self) -> None:
        self._hub_ready.clear()
        began = time.monotonic()
        await self._hub.start("hub", "run", str(self._hub_folder))
        while not self._hub_ready.is_set():
            await self._hub.check()
            if time.monotonic() - began > _HUB_READY_S:
                raise DemoError(f"the hub was not ready within {_HUB_READY_S:.0f} s; see hub.log")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._hub_ready.wait()
        self._hub_took_s = time.monotonic() - began

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
        lead_s = max(_LEAD_S, _LEAD_HUBS * self._hub_took_s)
        self._view.start_ns = time.monotonic_ns() + int(lead_s * 1e9)
        self._street.write_site(self._view.start_ns)
        await self._tail.start(
            "hub", "tail", str(self._hub_folder), "--json", "--from-start", from_stdout=True
        )
        await self._box.start("run", str(self._street.site))
        self._say("box started: core, supervisor, and one worker a port")
        async with asyncio.TaskGroup() as acts:
            watches = [
                acts.create_task(self._watch_processes()),
                acts.create_task(self._watch_numbers(relay)),
            ]
            await self._box_is_up()
            lamp = acts.create_task(self._switch_lamp())
            for fault in self._story.faults:
                await self._until(fault.at_s)
                self._say(fault.text, "bold red")
                await self._do(fault, relay)
            await lamp
            await self._until(self._story.seconds + 1.0)
            self._say("the scene is over; waiting for the hub to have everything")
            await self._drained()
            await self._box.stop()
            for watch in watches:
                watch.cancel()

    async def _box_is_up(self) -> None:
        while not await self._status():
            if self._view.now_s > 0:
                raise DemoError(f"core did not answer before the scene began; {self._box.last_words}")
            await asyncio.sleep(_LOOK_S)

    async def _do(self, fault: Fault, relay: Relay) -> None:
        match fault.verb, fault.victim:
            case "unplug", sensor:
                self._street.unplug(sensor)
                await asyncio.sleep(fault.for_s)
                self._street.replug(sensor)
                self._say(f"{sensor} sensor plugged in again", "green")
            case "cut", _:
                await relay.cut()
                await asyncio.sleep(fault.for_s)
                await relay.mend()
                self._say("uplink mended", "green")
            case "kill", "hub":
                await self._hub.stop(signal.SIGKILL)
                await asyncio.sleep(_HUB_DOWN_S)
                await self._start_hub()
                self._say("hub started again", "green")
            case "kill", process:
                self._census.kill(process)

    async def _switch_lamp(self) -> None:
        for at_s, command in self._story.commands:
            await self._until(at_s)
            printed = await gateway("command", "--site", str(self._street.site), "lamp", command)
            self._say(f"gateway command lamp {command}: {printed.strip()}", "cyan")

    async def _until(self, scene_s: float) -> None:
        await asyncio.sleep(max(0.0, scene_s - self._view.now_s))

    async def _watch_processes(self) -> None:
        """Raises DemoError when one of the demo's own processes ended that nobody stopped."""
        while True:
            for process in (self._hub, self._box, self._tail):
                await process.check()
            await asyncio.sleep(_LOOK_S)

    async def _watch_numbers(self, relay: Relay) -> None:
        """Keep the screen's numbers fresh."""
        while True:
            await asyncio.to_thread(self._census.take, {"hub": self._hub.pid, "run": self._box.pid})
            self._view.pids, self._view.restarts = self._census.pids, self._census.restarts
            self._view.memory_mib = self._census.memory_mib
            status = await self._status()
            if status:
                self._view.lanes = status["lanes"]
                states = {c["state"].replace("_", " ") for c in status["uplink"].values()}
                self._view.uplink = "cut" if relay.is_cut else " / ".join(sorted(states))
            self._screen.show()
            await asyncio.sleep(_LOOK_S)

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
        elif said.get("level") in _LOUD:
            self._voices.heard(said)

    def _on_box(self, said: dict[str, Any]) -> None:
        if said.get("unit") == "core":
            if said.get("text") == "core is up" and any(
                s.get("text") == "core is up" for s in self._core_said
            ):
                self._say("core is up again", "green")
            self._core_said.append(said)
        if said.get("level") in _LOUD:
            self._voices.heard(said)

    def _on_record(self, record: Mapping[str, Any]) -> None:
        self._view.at_hub += 1
        sensor, body = record["sensor"], record.get("body", {})
        if record["kind"] == "reading":
            self._view.latest[sensor] = self._readings.texts(sensor, body["values"])
        elif record["kind"] == "event":
            late_ms = (record["received_ns"] - record["t_wall_ns"]) / 1e6
            at_s = (record["t_mono_ns"] - (self._view.start_ns or 0)) / 1e9
            what = f"{body['label'].upper()} at {at_s:.2f} s, score {body['score']:.2f}"
            if body.get("revision"):
                rounds = f", {body['rounds']} rounds" if body.get("rounds", 1) > 1 else ""
                self._say(f"second look: {what}{rounds} (revision {body['revision']})", "magenta")
            else:
                self._say(f"{what}, at the hub after {late_ms:.0f} ms", "bold magenta")
        elif record["kind"] == "health":
            for_s = f" for {body['for_s']:.1f} s" if body.get("for_s") else ""
            self._say(f"health record of {sensor}: {body['code'].replace('_', ' ')}{for_s}", "blue")

    async def _account(self, tcp_bytes: int) -> Account:
        hub = str(self._hub_folder)
        audit = json.loads(await gateway("hub", "audit", BOX, hub, "--json"))
        events, health = [
            [
                json.loads(line)
                for line in (
                    await gateway("hub", "query", hub, "--kind", kind, "--revisions", "--json")
                ).splitlines()
            ]
            for kind in ("event", "health")
        ]
        start_ns = self._view.start_ns
        assert start_ns is not None
        account = draw_up(
            self._story, start_ns, self._core_said, audit, events, health, self._hub_folder, tcp_bytes
        )
        account.memory_mib = dict(sorted(self._census.memory_mib.items()))
        account.restarts = dict(self._census.restarts)
        return account


def _first(group: BaseExceptionGroup[GatewayError]) -> GatewayError:
    error: GatewayError | BaseExceptionGroup[GatewayError] = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
