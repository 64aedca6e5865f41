"""The supervisor with real children that die, hang and stop; and what it may import."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from line_drivers import Beacon, Number
from loops import in_loop, until
from stand_in import Core, one_port, sensor_plan

from gateway.childprocess import ChildProcess
from gateway.lastwords import read_last
from gateway.plan import Plan
from gateway.planwatch import PlanWatch
from gateway.reading import Kind
from gateway.restart import Deaths, RestartPolicy
from gateway.supervisor import Supervisor, WorkerCommand

QUICK = RestartPolicy(
    first_s=0.01, longest_s=0.04, well_s=5, deaths=3, within_s=60, parked_s=60, silent_s=20, stop_s=5
)
LIVES = 'while :; do echo >&"$1"; sleep 0.1; done'  # bash: heartbeats for ever, ends on SIGTERM


def shell(script: str) -> WorkerCommand:
    """A worker that is a few lines of bash; $1 is the heartbeat's descriptor, $2 the port's number."""

    def command(port: int, heartbeat_fd: int) -> Sequence[str]:
        return ("bash", "-c", script, "worker", str(heartbeat_fd), str(port))

    return command


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "run").mkdir()
    sensors = [sensor_plan(n, f"beacon-{n}", Beacon) for n in (1, 2)]
    return one_port(tmp_path, "ble:hci0", "ble", *sensors)


@asynccontextmanager
async def supervising(
    plan: Plan, command: WorkerCommand, policy: RestartPolicy = QUICK
) -> AsyncIterator[Supervisor]:
    stop = asyncio.Event()
    supervisor = Supervisor(plan, command, policy)
    async with asyncio.TaskGroup() as group:
        group.create_task(supervisor.run(stop))
        yield supervisor
        stop.set()


def test_pauses_double_up_to_the_longest_and_begin_again_after_a_long_life() -> None:
    deaths = Deaths(RestartPolicy(deaths=100))
    assert [deaths.died(n, 1) for n in range(8)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]
    assert deaths.died(100, 61) == 0.2
    assert deaths.died(101, 1) == 0.4


def test_the_fifth_death_in_ten_minutes_parks() -> None:
    deaths = Deaths(RestartPolicy())
    assert all(deaths.died(n * 100, 100) is not None for n in range(4))
    assert deaths.died(600, 100) is None
    deaths.forgive()
    assert deaths.died(601, 1) == 0.2


def test_five_deaths_in_more_than_ten_minutes_do_not_park() -> None:
    deaths = Deaths(RestartPolicy())
    assert all(deaths.died(n * 151, 150) is not None for n in range(50))


@in_loop
async def test_a_worker_that_dies_is_started_again(plan: Plan) -> None:
    started = plan.state / "started"
    script = f"echo $$ >> {started}; [ $(wc -l < {started}) = 3 ] || kill -9 $$; {LIVES}"
    policy = RestartPolicy(first_s=0.01, deaths=5)
    async with supervising(plan, shell(script), policy) as supervisor:
        await until(lambda: started.exists() and len(started.read_text().split()) == 3)
        assert supervisor.keepers[0].well
    assert supervisor.keepers[0].restarts == 2


@in_loop
async def test_a_worker_that_dies_too_often_is_parked_and_core_is_told(plan: Plan) -> None:
    started = plan.state / "started"
    core = Core(plan)
    async with supervising(plan, shell(f"echo $2 >> {started}; exit 3")) as supervisor:
        records = list(await core.until(lambda records: len(records) == 2))
        assert started.read_text() == "0\n" * 3
        assert supervisor.keepers[0].well  # parked on purpose: the watchdog is fed
        supervisor.unpark()
        await core.until(lambda records: len(records) == 4)
        assert started.read_text() == "0\n" * 6
    core.close()
    assert [(record["sensor"], record["code"]) for record in records] == [
        ("beacon-1", "parked"),
        ("beacon-2", "parked"),
    ]
    assert records[0]["who"] == ("supervisor", 255)
    assert core.of(Kind.HEALTH) == core.records


@pytest.mark.slow
@in_loop
async def test_a_silent_worker_is_asked_where_it_stands_before_it_is_killed(plan: Plan) -> None:
    asked = plan.state / "asked"
    script = f"trap 'echo yes > {asked}' ALRM; while :; do sleep 0.05; done"
    async with supervising(plan, shell(script), replace(QUICK, silent_s=0.3)) as supervisor:
        await until(lambda: supervisor.keepers[0].restarts)
    assert asked.read_text() == "yes\n"
    assert supervisor.keepers[0].killed_silent >= 1
    last = read_last(plan.state / "run", 0)
    assert last is not None
    assert (last["status"], last["what"]) == (-signal.SIGKILL, "gave no sign of life and was killed")


@in_loop
async def test_a_new_plan_stops_and_starts_only_what_changed_and_one_port_has_one_worker(plan: Plan) -> None:
    log = plan.state / "log"
    [first] = plan.ports
    second, third = (replace(first, number=n, url=f"ble:hci{n}") for n in (1, 2))
    plan = replace(plan, ports=(first, second))
    script = f"trap 'sleep 0.1; echo $2 ends >> {log}; exit' TERM; echo $2 begins >> {log}; {LIVES}"
    async with supervising(plan, shell(script)) as supervisor:
        await until(lambda: log.exists() and len(log.read_text().splitlines()) == 2)
        [kept, _] = supervisor.keepers
        changed = replace(second, sensors=second.sensors[:1])
        await supervisor.take_over(replace(plan, ports=(first, changed, third)))
        await until(lambda: len(log.read_text().splitlines()) == 5)
        assert log.read_text().splitlines()[2] == "1 ends"
        assert sorted(log.read_text().splitlines()[3:]) == ["1 begins", "2 begins"]
        assert [keeper.port for keeper in supervisor.keepers] == [first, changed, third]
        assert supervisor.keepers[0] is kept
        run = plan.state / "run"
        for number in range(3):
            (run / f"port-{number}.progress").write_bytes(b"since when it heard")
        elsewhere = replace(third, url="replay:elsewhere")
        await supervisor.take_over(replace(plan, ports=(first, changed, elsewhere)))
        left = sorted(file.name for file in run.glob("port-*.progress"))
        assert left == ["port-0.progress", "port-1.progress"], "the new port 2 has heard nothing"
        await until(lambda: len(log.read_text().splitlines()) == 7)
        await supervisor.take_over(replace(plan, ports=()))
        assert sorted(log.read_text().splitlines()[7:]) == ["0 ends", "1 ends", "2 ends"]


@in_loop
async def test_a_new_plan_file_is_taken_over_and_a_damaged_one_is_not(
    plan: Plan, caplog: pytest.LogCaptureFixture
) -> None:
    path, plans = plan.state / "plan.json", list[Plan]()

    async def take_over(new: Plan) -> None:
        plans.append(new)

    plan.save(path)
    with PlanWatch(path, take_over):
        (plan.state / "other.json").write_text("{}")
        path.write_text("{")
        await until(lambda: "the plan at" in caplog.text)
        replace(plan, ports=()).save(path)
        await until(lambda: plans)
    assert plans == [replace(plan, ports=())]
    assert "the old plan goes on" in caplog.text


@in_loop
async def test_sighup_before_a_death_does_not_cut_the_pauses_after_it(plan: Plan) -> None:
    go = plan.state / "go"
    script = f"[ -e {go} ] && exit 1; {LIVES}"
    policy = RestartPolicy(first_s=30, deaths=5)
    async with supervising(plan, shell(script), policy) as supervisor:
        [keeper] = supervisor.keepers
        await until(lambda: keeper._child is not None)
        supervisor.unpark()
        go.touch()
        os.kill(keeper._child.pid, signal.SIGKILL)
        await until(lambda: keeper._child is None)
        await asyncio.sleep(0)
        assert keeper._waiting
        assert keeper.restarts == 0


@pytest.mark.slow
@in_loop
async def test_a_worker_that_is_silent_is_killed_and_counted(plan: Plan) -> None:
    started = plan.state / "started"
    script = f"echo $$ >> {started}; [ $(wc -l < {started}) = 2 ] || kill -STOP $$; {LIVES}"
    policy = RestartPolicy(first_s=0.01, silent_s=1.0, deaths=5)
    async with supervising(plan, shell(script), policy) as supervisor:
        await until(lambda: started.exists() and len(started.read_text().split()) == 2)
    assert supervisor.keepers[0].killed_silent == 1


@pytest.mark.slow
@in_loop
async def test_a_worker_that_is_heard_lives_on(plan: Plan) -> None:
    policy = RestartPolicy(first_s=0.01, silent_s=0.5)
    async with supervising(plan, shell(LIVES), policy) as supervisor:
        await until(lambda: supervisor.keepers[0]._child is not None)
        started_s = supervisor.keepers[0]._child.started_s
        await until(lambda: supervisor.keepers[0]._child.heard_s > started_s + 1.0)
    assert supervisor.keepers[0].restarts == 0


@in_loop
async def test_a_worker_that_ignores_sigterm_is_killed_at_the_stop(plan: Plan) -> None:
    ready = plan.state / "ready"
    policy = RestartPolicy(stop_s=0.1)
    async with supervising(plan, shell(f"trap '' TERM; touch {ready}; {LIVES}"), policy) as supervisor:
        await until(ready.exists)
        child = supervisor.keepers[0]._child
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


@in_loop
async def test_a_worker_that_cannot_be_started_is_tried_again(plan: Plan) -> None:
    policy = RestartPolicy(first_s=0.01, deaths=100)
    async with supervising(plan, lambda port, fd: ("/no/such/program",), policy) as supervisor:
        await until(lambda: supervisor.keepers[0].restarts >= 2)
        await until(lambda: supervisor.keepers[0]._waiting)


@in_loop
async def test_a_worker_that_cannot_be_watched_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(pid: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def held() -> tuple[list[int], int]:
        return children(os.getpid()), len(list(Path("/proc/self/fd").iterdir()))

    before = held()
    monkeypatch.setattr(os, "pidfd_open", exhausted)
    with pytest.raises(OSError, match="Too many open files"):
        ChildProcess(lambda fd: ("bash", "-c", LIVES, "worker", str(fd)))
    assert held() == before


@in_loop
async def test_systemd_is_told_ready_and_fed(plan: Plan, monkeypatch) -> None:
    path = str(plan.state / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    monkeypatch.setenv("WATCHDOG_USEC", "30000")
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        systemd.setblocking(False)
        loop = asyncio.get_running_loop()
        async with supervising(plan, shell(LIVES)) as supervisor:
            while heard.count(b"WATCHDOG=1") < 3:
                heard.append(await loop.sock_recv(systemd, 100))
            [keeper] = supervisor.keepers
            await until(lambda: keeper._child is not None)
            keeper._child.heard_s -= 1000  # as if it were silent, and killing it failed
            assert not keeper.well
        with contextlib.suppress(BlockingIOError):
            while True:
                heard.append(systemd.recv(100))
    assert heard[0] == b"READY=1"
    assert heard[-1] == b"STOPPING=1"


@pytest.mark.slow
@in_loop
async def test_the_whole_unit_restarts_a_killed_worker_and_stops_cleanly(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "bus.log").write_text("1\n2\n3\n")
    url = f"replay:{tmp_path}/bus.log?rate=100&loop=1"
    plan = one_port(tmp_path, url, "serial", sensor_plan(1, "well", Number))
    core = Core(plan)
    unit = start_unit(plan)
    await core.until(lambda records: len(records) >= 3)
    [worker] = children(unit.pid)
    os.kill(worker, signal.SIGKILL)
    await core.until(lambda records: any(record.get("code") == "deaf" for record in records))
    [again] = children(unit.pid)
    assert again != worker
    unit.terminate()
    _, logged = await asyncio.to_thread(unit.communicate)
    assert unit.returncode == 0
    assert b"worker stopped" in logged
    assert b"supervisor stopped" in logged
    with pytest.raises(ProcessLookupError):
        os.kill(again, 0)
    core.close()


def start_unit(plan: Plan) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent / "aids")}
    command = [sys.executable, "-m", "gateway.supervisor", str(plan.state / "plan.json")]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


@pytest.mark.slow
def test_the_supervisor_imports_nothing_that_a_sensor_brings() -> None:
    code = "import sys, gateway.supervisor; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    heavy = {"numpy", "pydantic", "zmq", "serial", "soundfile", "tflite_runtime", "gateway_drivers"}
    assert "msgpack" in loaded
    assert not heavy & {name.partition(".")[0] for name in loaded}
    ours = {".".join(name.split(".")[:2]) for name in loaded}
    assert not ours & {"gateway.driver", "gateway.ports", "gateway.media"}


@pytest.mark.slow
@in_loop
async def test_a_missing_plan_is_one_plain_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gateway.supervisor", str(tmp_path / "nothing.json")]
    ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    assert ended.returncode == 1
    assert b"gateway run SITE" in ended.stderr
    assert ended.stderr.count(b"\n") == 1
