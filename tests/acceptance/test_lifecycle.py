"""Starting, stopping and listing workers, with a stand-in for the worker and a real broker."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from golek_worker import process
from golek_worker.bus import embedded
from golek_worker.machine import lifecycle, listing, runfile
from golek_worker.machine.runfile import RunState
from tests.support.ports import free_port

STANDIN = "tests.support.standin_worker"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder and an `envs` folder with one deployment, `one`; what runs there is stopped afterwards."""
    port = free_port()
    data = tmp_path / "data"
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "worker.one.env").write_text("MODEL_NAME=one\nENGINE=echo\nDRAIN_S=0.2\n")
    (tmp_path / "envs" / "worker.example.env").write_text("# MODEL_NAME=example\n")
    monkeypatch.setenv("GOLEK_DATA", str(data))
    monkeypatch.setenv("NATS_URL", f"nats://127.0.0.1:{port}")
    yield data
    lifecycle.stop(envs=tmp_path / "envs", say=lambda _: None)
    assert embedded.running(data) is None


@pytest.fixture
def envs(tmp_path: Path) -> Path:
    return tmp_path / "envs"


def start(envs: Path, replicas: int = 1, said: list[str] | None = None) -> list[RunState]:
    say = (said if said is not None else []).append
    return asyncio.run(lifecycle.start("one", replicas, module=STANDIN, envs=envs, say=say))


def test_start_brings_up_broker_and_replicas_and_says_so(data: Path, envs: Path) -> None:
    """Start returns when every replica is online, and tells each step on the way."""
    said: list[str] = []
    states = start(envs, 2, said)
    assert [state.state for state in states] == ["online", "online"]
    assert all(runfile.alive(state) for state in states)
    assert embedded.running(data) is not None
    text = "\n".join(said)
    assert "broker nats://127.0.0.1" in text
    assert "one-1 loading after" in text
    assert "one-2 online after" in text


def test_a_second_start_finds_the_first(data: Path, envs: Path) -> None:
    """Starting what runs succeeds, says so, and starts nothing."""
    first = start(envs)
    said: list[str] = []
    second = start(envs, said=said)
    assert [state.pid for state in second] == [state.pid for state in first]
    assert any("runs already (online" in line for line in said)


def test_a_worker_of_another_broker_is_not_the_one_asked_for(
    data: Path, envs: Path, nats_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both brokers are named, by start and by the table; the worker that runs stays as it is."""
    (state,) = start(envs)
    monkeypatch.setenv("NATS_URL", nats_server)
    with pytest.raises(lifecycle.StartError) as caught:
        start(envs)
    assert f"one-1 runs already, but at {state.nats_url} (online" in str(caught.value)
    assert f"NATS_URL={nats_server} is asked for now" in str(caught.value)
    assert listing.deployments(envs)[0].running == f"#1 online at {state.nats_url}"
    assert runfile.alive(state)


def test_two_starts_at_once_start_one_worker(data: Path, envs: Path) -> None:
    """Two people who start the same deployment get the same worker."""
    got: list[list[RunState]] = []
    threads = [threading.Thread(target=lambda: got.append(start(envs))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({state.pid for states in got for state in states}) == 1


def test_stop_of_one_deployment_leaves_the_broker(data: Path, envs: Path) -> None:
    """Only a stop without a name stops the broker."""
    (state,) = start(envs)
    lifecycle.stop("one", envs=envs, say=lambda _: None)
    assert not runfile.alive(state)
    assert runfile.read_all(data) == []
    assert embedded.running(data) is not None
    said: list[str] = []
    lifecycle.stop(envs=envs, say=said.append)
    assert embedded.running(data) is None
    assert said[0] == "no worker runs"
    assert "stopped" in said[1]


def test_a_worker_that_fails_shows_its_cause(data: Path, envs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The problem of its run file reaches the person who started it, and where its log is; not the log itself."""
    monkeypatch.setenv("STANDIN", "fail")
    with pytest.raises(lifecycle.StartError) as caught:
        start(envs)
    assert "one-1 did not start: model.gguf is cut short (log: " in str(caught.value)
    assert "the file ends early" not in str(caught.value)


def test_a_worker_that_crashes_at_once_shows_its_log(data: Path, envs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a word in the run file there is still the exit code and the traceback of this start only."""
    for behaviour in ("crash", "fail", "crash"):
        monkeypatch.setenv("STANDIN", behaviour)
        with pytest.raises(lifecycle.StartError) as caught:
            start(envs)
    assert "ended with code 1 before it was online" in str(caught.value)
    assert "RuntimeError: the stand-in crashes" in str(caught.value)
    assert "the file ends early" not in str(caught.value)


def test_a_worker_that_ignores_sigterm_is_killed(data: Path, envs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping takes DRAIN_S and two seconds at most."""
    monkeypatch.setenv("STANDIN", "deaf")
    (state,) = start(envs)
    said: list[str] = []
    began = time.monotonic()
    lifecycle.stop("one", envs=envs, say=said.append)
    assert 2 < time.monotonic() - began < 5
    assert not runfile.alive(state)
    assert "killed" in said[-1]


def test_a_successor_with_the_same_pid_is_not_the_worker(data: Path, envs: Path) -> None:
    """A run file left by a killed worker names a pid that now belongs to somebody else: it is neither listed as
    running nor stopped, and start replaces it."""
    me = process.identify()
    stale = RunState(worker_id="w", deployment="one", replica=1, pid=me.pid, created=me.created - 100, state="online")
    runfile.write(data, stale)
    assert not runfile.alive(stale)
    assert listing.deployments(envs)[0].running == "#1 gone (was online)"
    (state,) = start(envs)
    assert state.pid != me.pid
    assert runfile.alive(state)


def test_all_mistakes_are_told_before_anything_starts(data: Path, envs: Path) -> None:
    """Wrong settings are reported together; no broker is started for them."""
    (envs / "worker.one.env").write_text("MODEL_NAME=a b\nENGINE=vlm\nWORKER_CONCURENCY=3\n")
    with pytest.raises(lifecycle.StartError) as caught:
        start(envs)
    assert "ENGINE=vlm" in str(caught.value)
    assert "did you mean WORKER_CONCURRENCY?" in str(caught.value)
    assert embedded.running(data) is None


def test_ctrl_c_leaves_the_worker_running(data: Path, envs: Path) -> None:
    """Interrupting a start that takes long does not stop what was started."""
    code = (
        "import asyncio, pathlib\nfrom golek_worker.machine import lifecycle\n"
        f"asyncio.run(lifecycle.start('one', module={STANDIN!r}, envs=pathlib.Path({str(envs)!r})))\n"
    )
    environment = os.environ | {"STANDIN_LOADS_S": "30"}
    starter = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    for line in starter.stdout:
        if "loading" in line:
            break
    starter.send_signal(signal.SIGINT)
    rest, _ = starter.communicate(timeout=10)
    assert "left running" in rest
    state = runfile.read(data, "one", 1)
    assert state is not None
    assert runfile.alive(state)


def test_the_table_shows_deployments_and_not_the_example(data: Path, envs: Path) -> None:
    """Name, model, engine, what runs and the subject; a file with mistakes is listed with them."""
    (envs / "worker.two.env").write_text("ENGINE=echo\n")
    start(envs)
    text = listing.table(listing.deployments(envs))
    assert text.splitlines()[0].split() == ["NAME", "MODEL", "ENGINE", "RUNNING", "SUBJECT"]
    assert text.splitlines()[1].split() == ["one", "one", "echo", "#1", "online", "inference.request.one"]
    assert "two: MODEL_NAME: missing" in text
    assert "example" not in text.replace("MODEL_NAME=golek-tiny", "").replace("e.g.", "")
