"""Run files and processes: what is written is read whole, and a pid alone is not believed."""

import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from golek_worker import process
from golek_worker.machine import runfile
from golek_worker.machine.runfile import RunState
from golek_worker.process import ProcessId


def a_state(replica: int = 1, deployment: str = "one") -> RunState:
    me = process.identify()
    return RunState(worker_id="w", deployment=deployment, replica=replica, pid=me.pid, created=me.created)


def test_states_are_read_as_written_and_in_order(tmp_path: Path) -> None:
    """All replicas of all deployments, sorted; what is half a file or none is nobody."""
    for state in (a_state(2), a_state(1), a_state(1, "another")):
        runfile.write(tmp_path, state)
    (tmp_path / "run" / "broken-1.json").write_text('{"worker_id": "w"')
    assert runfile.read_all(tmp_path) == [a_state(1, "another"), a_state(1), a_state(2)]
    assert runfile.read(tmp_path, "one", 3) is None
    assert runfile.read(tmp_path, "broken", 1) is None
    runfile.remove(tmp_path, "one", 1)
    runfile.remove(tmp_path, "one", 1)
    assert runfile.read(tmp_path, "one", 1) is None
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "another-1.json",
        "broken-1.json",
        "one-2.json",
    ]


def test_the_starter_does_not_overwrite_the_worker(tmp_path: Path) -> None:
    """Who is first writes; the worker's own word stays."""
    online = msgspec.structs.replace(a_state(), state="online")
    runfile.write(tmp_path, online)
    runfile.write_first(tmp_path, a_state())
    assert runfile.read(tmp_path, "one", 1) == online


def test_a_worker_id_is_one_subject_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dots of a host name would split a subject."""
    monkeypatch.setattr("socket.gethostname", lambda: "gpu1.lab")
    assert runfile.worker_id("qwen3-4b", 2) == "qwen3-4b-gpu1_lab-2"


def test_alive_is_this_process_and_no_other() -> None:
    """The same pid with another beginning is somebody else."""
    assert runfile.alive(a_state())
    assert not runfile.alive(msgspec.structs.replace(a_state(), created=a_state().created - 60))


def test_a_zombie_does_not_run() -> None:
    """A process that ended and was not waited for is gone for us."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        known = process.identify(child.pid)
        assert process.is_running(known)
        child.kill()
        while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
            pass
        assert not process.is_running(known)


def test_what_does_not_stop_is_killed(tmp_path: Path) -> None:
    """Patience ends; what stops by itself is not killed."""
    for code, willing in (
        ("import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)", False),
        ("import time; print('up', flush=True); time.sleep(60)", True),
    ):
        log = tmp_path / f"{willing}.log"
        child = process.spawn([sys.executable, "-c", code], log)
        while process.size_of(log) == 0:
            pass
        known = process.identify(child.pid)
        process.terminate(known)
        assert process.wait_or_kill(known, 0.3) is willing
        assert not process.is_running(known)
        process.leave_running(child)
    process.terminate(ProcessId(known.pid, known.created))


def test_the_end_of_a_log_is_that_of_this_start(tmp_path: Path) -> None:
    """Lines from before `since` belong to an earlier run."""
    log = tmp_path / "x.log"
    assert process.last_lines(log) == ""
    log.write_text("old\n")
    since = process.size_of(log)
    with log.open("a") as file:
        file.writelines(f"{number}\n" for number in range(20))
    assert process.last_lines(log, 3, since) == "17\n18\n19"
    assert "old" not in process.last_lines(log, 100, since)
