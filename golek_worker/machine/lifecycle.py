"""How are the workers of this machine started, stopped and listed?

Each replica is a process of its own session; what is known of it lies in its run file. Starting waits until the replica
says that it is online and shows what happens meanwhile.
"""

import asyncio
import contextlib
import fcntl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from golek_client.connection import shown
from golek_client.login import Login
from golek_program.settings import SettingsError
from golek_wire.signals import TAKES_REQUESTS
from golek_worker import process, settings
from golek_worker.bus import cluster, embedded
from golek_worker.machine import check, gateway, logfiles, monitor, runfile, services, supervised
from golek_worker.machine.bar import Bar
from golek_worker.machine.runfile import RunState
from golek_worker.process import ProcessId
from golek_worker.registry.report import Progress
from golek_worker.settings import Settings

WORKER_MODULE = "golek_worker.worker"
ENVS = Path("envs")
POLL_S = 0.02
REMIND_S = 15.0
"""A replica that loads for long is mentioned this often."""
KILL_AFTER_DRAIN_S = 2.0

Say = Callable[[str], None]


class StartError(Exception):
    """A deployment could not be started; the message is all there is to say."""


async def start(
    deployment: str, replicas: int = 1, *, module: str = WORKER_MODULE, envs: Path = ENVS, say: Say = print
) -> list[RunState]:
    """Start what does not run yet of replicas 1 to `replicas`, and wait until all are online.

    Raises StartError: wrong settings (all of them), no broker, or replicas that failed, with the cause each one gave.
    Interrupted, it leaves the replicas running.
    """
    file = settings.env_file(deployment, envs)
    if wrong := await check.problems(file):
        raise StartError("\n".join(wrong))
    loaded = settings.load(file)
    for line in check.about_model(loaded):
        say(line)
    _refuse_other_broker(deployment, replicas, loaded)
    await ensure_broker(loaded.nats_url, loaded.data, say, loaded.login)
    _say_more(deployment, replicas, loaded.data, say)
    with start_lock(loaded.data):
        launched = [_launch(deployment, replica, loaded, module, say) for replica in range(1, replicas + 1)]
    waiting = [one for one in launched if one is not None]
    try:
        with contextlib.closing(Bar(deployment, say)) as bar:
            failures = await _wait_online(waiting, loaded.data, bar)
    except asyncio.CancelledError:
        say(f"left running; `make list-workers` shows how far it is, `make stop WORKER={deployment}` stops it")
        raise
    finally:
        for one in waiting:
            one.let_go()
    if failures:
        raise StartError("\n".join(failures))
    states = (runfile.read(loaded.data, deployment, replica) for replica in range(1, replicas + 1))
    return [state for state in states if state is not None]


def _refuse_other_broker(deployment: str, replicas: int, loaded: Settings) -> None:
    """A replica that runs serves the broker it was started with, whatever is asked now. Raises StartError."""
    for state in runfile.read_all(loaded.data):
        if state.deployment != deployment or state.replica > replicas or state.state == "failed":
            continue
        if state.nats_url and runfile.alive(state) and not embedded.same_address(state.nats_url, loaded.nats_url):
            raise StartError(
                f"{deployment}-{state.replica} runs already, but at {shown(state.nats_url)} ({state.state}, "
                f"pid {state.pid}), and NATS_URL={shown(loaded.nats_url)} is asked for now; use "
                f"NATS_URL={shown(state.nats_url)}, or stop it with `make stop WORKER={deployment}` and start it again"
            )


def _say_more(deployment: str, replicas: int, data: Path, say: Say) -> None:
    """Starting takes no replica away: say so when more run than were asked for."""
    more = [
        state.replica
        for state in runfile.read_all(data)
        if state.deployment == deployment and state.replica > replicas and runfile.alive(state)
    ]
    if more:
        numbers = ", ".join(f"#{number}" for number in more)
        say(f"{deployment} {numbers} runs as well; `make stop WORKER={deployment}` stops all its replicas")


async def ensure_broker(url: str, data: Path, say: Say = print, login: Login | None = None) -> embedded.Ensured:
    """The broker at `url`, started when it may be. Raises StartError."""
    try:
        ensured = await embedded.ensure(url, data, login)
    except embedded.BrokerError as error:
        raise StartError(str(error)) from error
    said = f"started in {ensured.seconds:.2f} s" if ensured.started else "answers"
    say(f"broker {shown(ensured.url)} {said}")
    return ensured


def stop(deployment: str | None = None, *, envs: Path = ENVS, say: Say = print) -> None:
    """Stop a deployment's replicas; without a name `golek serve`, gateway, monitor, all workers, and then the broker.

    Each worker gets SIGTERM and its DRAIN_S to finish its jobs, then SIGKILL.
    """
    stopped = False
    for data in _data_folders(envs):
        if deployment is None:
            stopped |= supervised.stop(data, say)
            stopped |= services.stop(gateway.KIND, data, say) | services.stop(monitor.KIND, data, say)
        states = [state for state in runfile.read_all(data) if deployment in (None, state.deployment)]
        stopped |= _stop_workers(data, states, envs, say)
    if not stopped:
        file = settings.env_file(deployment, envs) if deployment is not None else None
        if file is not None and settings.find(file) is None:
            raise StartError("\n".join(settings.read(file)[1]))
        say(f"no worker of {deployment} runs" if deployment else "no worker runs")
    if deployment is None:
        stop_brokers(envs=envs, say=say)


async def ensure_cluster(url: str, data: Path, say: Say = print) -> cluster.Ensured:
    """The three brokers of a cluster, those started that do not run. Raises StartError."""
    try:
        ensured = await cluster.ensure(url, data)
    except embedded.BrokerError as error:
        raise StartError(str(error)) from error
    for node in ensured.nodes:
        said = f"started in {ensured.seconds:.1f} s" if node.number in ensured.started else "runs already"
        say(f"broker {node.number} of {len(ensured.nodes)}, {shown(node.url)}, {said}")
    return ensured


def stop_brokers(*, envs: Path = ENVS, say: Say = print) -> None:
    """Stop the brokers that were started here."""
    stopped = [stop_broker(data, say) for data in _data_folders(envs)]
    if not any(stopped):
        say("no broker of ours runs")


def stop_broker(data: Path, say: Say = print) -> bool:
    """Stop the broker of one data folder, or its cluster. True when there was one."""
    single = embedded.stop(data)
    stopped = [*([single] if single is not None else []), *cluster.stop(data)]
    for broker in stopped:
        say(f"broker {shown(broker.url)} stopped")
    return bool(stopped)


class _Launched:
    """A replica that is on its way: started by us, or by somebody before."""

    def __init__(self, state: RunState, child: "subprocess.Popen[bytes] | None") -> None:
        self.deployment, self.replica = state.deployment, state.replica
        self.name = f"{state.deployment}-{state.replica}"
        self.log = Path(state.log)
        self.id = ProcessId(state.pid, state.created)
        self.child = child
        self.shown: str | None = None
        self.progress: Progress | None = None

    def has_ended(self) -> bool:
        return self.child.poll() is not None if self.child else not process.is_running(self.id)

    def exit_code(self) -> str:
        return f" with code {self.child.returncode}" if self.child else ""

    def let_go(self) -> None:
        if self.child is not None and self.child.poll() is None:
            process.leave_running(self.child)


def _launch(deployment: str, replica: int, loaded: Settings, module: str, say: Say) -> _Launched | None:
    """Start one replica; None when it is online already."""
    data = loaded.data
    known = runfile.read(data, deployment, replica)
    if known is not None and known.state == "failed":
        process.terminate(ProcessId(known.pid, known.created))
        process.wait_or_kill(ProcessId(known.pid, known.created), KILL_AFTER_DRAIN_S)
    elif known is not None and runfile.alive(known):
        say(f"{deployment}-{replica} runs already ({known.state}, pid {known.pid})")
        return None if known.state in TAKES_REQUESTS else _Launched(known, None)
    return _Launched(*spawn(deployment, replica, loaded, [sys.executable, "-m", module]))


def spawn(
    deployment: str, replica: int, loaded: Settings, command: list[str]
) -> "tuple[RunState, subprocess.Popen[bytes]]":
    """Start the process of a replica that does not run: `command` with its arguments. The caller has `start_lock`."""
    data = loaded.data
    runfile.remove(data, deployment, replica)
    log = logfiles.create(logfiles.boot_folder(data), "boot")
    child = process.spawn([*command, deployment, "--replica", str(replica), "--log", str(log)], log)
    born = process.identify(child.pid)
    state = RunState(
        worker_id=runfile.worker_id(deployment, replica),
        deployment=deployment,
        replica=replica,
        pid=born.pid,
        created=born.created,
        model_name=loaded.model_name,
        nats_url=shown(loaded.nats_url),
        log=str(log),
    )
    runfile.write_first(data, state)
    return state, child


async def _wait_online(launched: list[_Launched], data: Path, bar: Bar) -> list[str]:
    """Wait until each is online or has failed; what the failed ones say. Loading may take minutes, so no limit."""
    began = time.monotonic()
    remind_at = began + REMIND_S
    waiting, failures = list(launched), []
    while waiting:
        for one in list(waiting):
            ended = one.has_ended()  # before reading: what it wrote last is then in the file
            state = runfile.read(data, one.deployment, one.replica)
            if state is not None and state.state not in (one.shown, "failed"):
                one.shown = state.state
                bar.say(f"{one.name} {state.state} after {time.monotonic() - began:.1f} s")
            one.progress = state.progress if state is not None else None
            if ended or (state is not None and state.state == "failed"):
                failures.append(_failure(one, state, ended))
                if state is not None and state.state != "failed":
                    runfile.remove(data, one.deployment, one.replica)
                waiting.remove(one)
            elif state is not None and state.state in TAKES_REQUESTS:
                waiting.remove(one)
                for remark in state.remarks:
                    bar.say(f"{one.name}: {remark}")
        progress = _download(waiting)
        bar.show(progress) if progress is not None else bar.close()
        if waiting and time.monotonic() >= remind_at and progress is None:
            remind_at += REMIND_S
            names = ", ".join(f"{one.name} ({one.shown})" for one in waiting)
            seconds = time.monotonic() - began
            bar.say(f"{seconds:.0f} s: waiting for {names}; log: {waiting[0].log}; Ctrl-C leaves it running")
        if waiting:
            await asyncio.sleep(POLL_S)
    return failures


def _download(waiting: list[_Launched]) -> Progress | None:
    """The download to show: replicas share one file, and all but one of them only watch."""
    progresses = [one.progress for one in waiting if one.progress is not None]
    return min(progresses, key=lambda progress: progress.stage == "waiting", default=None)


def _failure(one: _Launched, state: RunState | None, ended: bool) -> str:
    """Why a replica is not online: its own word, else the end of its log."""
    if state is not None and state.problem:
        return f"{one.name} did not start: {state.problem} (log: {one.log})"
    said = f"ended{one.exit_code()} before it was online" if ended else "failed"
    tail = process.last_lines(one.log, 15)
    lines = "\n".join(f"  | {line}" for line in tail.splitlines())
    return f"{one.name} did not start: {said}" + (
        f"\nthe end of {one.log}:\n{lines}" if lines else f" (log: {one.log})"
    )


def _stop_workers(data: Path, states: list[RunState], envs: Path, say: Say) -> bool:
    """Stop the replicas of `states` side by side, and forget those that are gone. True when one ran."""
    alive = [state for state in states if runfile.alive(state)]
    for state in alive:
        process.terminate(ProcessId(state.pid, state.created))
        say(f"{state.deployment}-{state.replica} is told to stop")
    began = time.monotonic()
    for state in alive:
        patience = _drain_s(state.deployment, envs) + KILL_AFTER_DRAIN_S - (time.monotonic() - began)
        willing = process.wait_or_kill(ProcessId(state.pid, state.created), max(0.0, patience))
        seconds = time.monotonic() - began
        name = f"{state.deployment}-{state.replica}"
        say(
            f"{name} stopped after {seconds:.1f} s" if willing else f"{name} killed: it did not stop in {seconds:.0f} s"
        )
    for state in states:
        runfile.remove(data, state.deployment, state.replica)
    return bool(alive)


def _drain_s(deployment: str, envs: Path) -> float:
    try:
        return settings.load(settings.env_file(deployment, envs)).drain_s
    except SettingsError:  # a file that was changed after the start must not keep the worker alive
        return Settings(model_name=deployment).drain_s


def _data_folders(envs: Path) -> list[Path]:
    """GOLEK_DATA as environment, `.env` or default say, and that of every deployment that can be read."""
    folders = {Path(settings.shared("GOLEK_DATA", project=envs.parent) or Settings(model_name="any").data)}
    for file in envs.glob("worker.*.env"):
        with contextlib.suppress(SettingsError):
            folders.add(settings.load(file).data)
    return sorted(folders)


@contextlib.contextmanager
def start_lock(data: Path) -> Iterator[None]:
    """One start at a time looks for what runs and starts the rest."""
    path = data / "run" / "start.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
