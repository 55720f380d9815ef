"""From a model that is not there to one that answers: a real worker, a real broker, and a hub on a real socket."""

import asyncio
import os
import pty
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from golek_program.settings import sources
from golek_wire import moments, subjects
from golek_worker import settings
from golek_worker.bus.jetstream import TIMEOUT_S
from golek_worker.machine import lifecycle, listing, runfile
from golek_worker.machine.lifecycle import StartError
from golek_worker.machine.runfile import RunState
from tests.support import raw
from tests.support.hub import Hub, sha256
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "data" / "models" / "golek-tiny" / "model.gguf"
SOURCE = "hf:own/repo/far.gguf"
WAYS = "Put the file there, name another with MODEL_PATH, or"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project's folder with one deployment, `far`, whose model lies at a hub; what runs is stopped afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for key in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    deployment(tmp_path, MODEL_NAME="far", MODEL_SOURCE=SOURCE, NATS_URL=f"nats://127.0.0.1:{free_port()}")
    yield tmp_path
    lifecycle.stop(say=lambda _: None)


@pytest.fixture
def hub(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serves the demo model under another name, in about 2 s."""
    with Hub({"own/repo/far.gguf": TINY.read_bytes()}) as running:
        running.rate = 2e6
        for key, value in running.environment().items():
            monkeypatch.setenv(key, value)
        yield running


def deployment(project: Path, **values: str) -> None:
    file = project / "envs" / "worker.far.env"
    file.parent.mkdir(exist_ok=True)
    written = sources.read_file(file)[0] if file.exists() else {}
    file.write_text("".join(f"{key}={value}\n" for key, value in (written | values).items()))


def start(said: list[str] | None = None, replicas: int = 1) -> list[RunState]:
    return asyncio.run(lifecycle.start("far", replicas, say=(said if said is not None else []).append))


def ask(subject: str, body: dict[str, object]) -> dict[str, object]:
    async def once() -> dict[str, object]:
        async with raw.connected(settings.load(settings.env_file("far")).nats_url) as client:
            message = await client.request(subject, msgspec.json.encode(body), timeout=10)
            answer: dict[str, object] = msgspec.json.decode(message.data)
            return answer

    return asyncio.run(once())


def record(project: Path) -> dict[str, object]:
    """What the fleet knows of the model."""

    async def read() -> dict[str, object]:
        async with raw.connected(settings.load(settings.env_file("far")).nats_url) as client:
            entry = await (await client.jetstream().key_value(subjects.MODELS_BUCKET)).get("far")
            found: dict[str, object] = msgspec.json.decode(entry.value or b"")
            return found

    return asyncio.run(read())


def begin() -> "subprocess.Popen[str]":
    """`make start` in another process, which waits for the download."""
    command = [sys.executable, "-m", "golek_worker.cli", "worker", "start", "far"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_percent(project: Path, percent: int) -> RunState:
    """The worker's state when it has told of so much of the download."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        state = runfile.read(project / "data", "far", 1)
        if state is not None and state.progress is not None and state.progress.percent >= percent:
            return state
        time.sleep(0.02)
    raise AssertionError(state)


def events(project: Path) -> dict[str, str]:
    """The worker's events and what each says."""
    with sqlite3.connect(project / "data" / "logs" / "far.sqlite") as log:
        return dict(log.execute("SELECT code, msg FROM events").fetchall())


def parts(project: Path) -> list[Path]:
    return list((project / "data" / "models" / "far").glob(".*.part"))


def test_a_missing_model_is_downloaded_and_answers(hub: Hub, project: Path) -> None:
    """Start tells source and progress, the file lies where the deployment looks, the worker answers."""
    said: list[str] = []
    (state,) = start(said)
    assert state.state == "online"
    assert state.progress is None
    text = "\n".join(said)
    assert f"data/models/far/model.gguf: will be downloaded from {SOURCE}, size not known" in text
    shown = [line for line in said if re.fullmatch(r"far downloading \d+ % of 4 MB", line)]
    assert 2 <= len(shown) <= 12, said
    assert (project / "data/models/far/model.gguf").read_bytes() == TINY.read_bytes()
    assert ask("inference.request.far", {"input": "What is NATS?"})["text"]
    lifecycle.stop("far", say=lambda _: None)
    told = events(project)
    assert told["model.downloading"] == f"{SOURCE} to data/models/far/model.gguf (size not known)"
    assert re.search(r": 4 MB, in \d+\.\d s, verified: sha256 [0-9a-f]{64}$", told["model.downloaded"])
    codes = list(told)
    assert codes.index("model.downloaded") < codes.index("model.loading") < codes.index("model.loaded")


def test_while_it_downloads_a_worker_is_starting(hub: Hub, project: Path) -> None:
    """It answers about its health and to pings, the table shows how far it is, and SIGTERM ends it within 2 s with what
    came so far kept."""
    hub.rate = 4e5
    starter = begin()
    state = wait_for_percent(project, 5)
    health = ask("models.far.health", {})
    assert health["status"] == "starting"
    assert ask(subjects.micro("PING", str(health["incarnation"])), {})["id"] == health["incarnation"]
    assert health["nats_topic"] == "", "whether it writes or embeds is not known yet"
    assert re.fullmatch(r"the model's file: downloading \d+ %", str(health["problem"]))
    assert re.fullmatch(r"#1 downloading \d+ %", listing.deployments()[0].running)
    assert record(project)["state"] == "starting"
    began = time.monotonic()
    os.kill(state.pid, signal.SIGTERM)
    while runfile.alive(state):
        assert time.monotonic() < began + 2
        time.sleep(0.01)
    output, _ = starter.communicate(timeout=10)
    assert starter.returncode == 1, output
    assert runfile.read(project / "data", "far", 1) is None
    assert parts(project)[0].stat().st_size > 0
    assert record(project)["state"] == "offline"
    hub.rate = None
    start()
    assert re.search(r"4 MB, \d+ [kM]B of it by this worker, in", events(project)["model.downloaded"])


def test_a_killed_worker_takes_its_download_along(hub: Hub, project: Path) -> None:
    """Nothing goes on in the background, and the next start does not begin again."""
    hub.rate = 1e6
    starter = begin()
    state = wait_for_percent(project, 30)
    os.kill(state.pid, signal.SIGKILL)
    starter.communicate(timeout=10)
    size = parts(project)[0].stat().st_size
    time.sleep(0.5)
    assert parts(project)[0].stat().st_size == size
    hub.rate = None
    start()
    assert hub.gets()[-1].range is not None
    assert ask("inference.request.far", {"input": "hello"})["text"]


def test_a_broker_that_goes_away_meanwhile_costs_nothing(hub: Hub, project: Path) -> None:
    """The download goes on without the broker; the worker tells the fleet as soon as it is back, and comes online."""
    hub.rate = 6e5
    url = settings.load(settings.env_file("far")).nats_url
    starter = begin()
    wait_for_percent(project, 5)
    lifecycle.stop_brokers(say=lambda _: None)
    wait_for_percent(project, 20)
    back = moments.stamp()
    asyncio.run(lifecycle.ensure_broker(url, project / "data", lambda _: None))
    while str(record(project)["last_seen"]) < back:
        time.sleep(0.1)
    state = runfile.read(project / "data", "far", 1)
    assert state is not None
    assert state.progress is not None, "the record was renewed only when the download had ended"
    hub.rate = None
    output, _ = starter.communicate(timeout=30)
    assert starter.returncode == 0, output
    assert len(hub.gets()) == 1
    assert ask("inference.request.far", {"input": "hello"})["text"]


def test_a_broker_that_is_away_when_the_download_ends_is_waited_for(hub: Hub, project: Path) -> None:
    """Longer than a request to the broker waits; then the worker comes online with the file that it has."""
    url = settings.load(settings.env_file("far")).nats_url
    starter = begin()
    wait_for_percent(project, 5)
    lifecycle.stop_brokers(say=lambda _: None)
    while "model.downloaded" not in events(project):
        assert starter.poll() is None
        time.sleep(0.1)
    time.sleep(TIMEOUT_S + 2)
    assert starter.poll() is None
    asyncio.run(lifecycle.ensure_broker(url, project / "data", lambda _: None))
    output, _ = starter.communicate(timeout=30)
    assert starter.returncode == 0, output
    assert ask("inference.request.far", {"input": "hello"})["text"]


def test_two_replicas_download_once(hub: Hub, project: Path) -> None:
    """The second replica waits for the file of the first."""
    states = start(replicas=2)
    assert [state.state for state in states] == ["online", "online"]
    assert len(hub.gets()) == 1


def test_a_wrong_hash_in_the_env_file_is_refused(hub: Hub, project: Path) -> None:
    """Both hashes are named, nothing is downloaded, and the fleet is told that the worker failed."""
    deployment(project, MODEL_SHA256="0" * 64)
    with pytest.raises(StartError) as caught:
        start()
    assert f"the hub offers a file with sha256 {sha256(TINY.read_bytes())}, but MODEL_SHA256 says {'0' * 64}" in str(
        caught.value
    )
    assert hub.gets() == []
    assert not (project / "data/models/far/model.gguf").exists()
    state = runfile.read(project / "data", "far", 1)
    assert state is not None
    assert state.state == "failed"
    assert record(project)["state"] == "failed"


def test_no_network_names_the_ways_out(project: Path) -> None:
    """Cause, places and what to do, within seconds."""
    with pytest.raises(StartError) as caught:
        start()
    said = str(caught.value)
    assert "MODEL_PATH=data/models/far/model.gguf: no such file, nor at /data/models/far.gguf" in said
    assert "http://127.0.0.1:1 cannot be reached" in said
    assert f"{WAYS} name another source with MODEL_SOURCE" in said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"GOLEK_OFFLINE": "1"},
            f"GOLEK_OFFLINE=1 forbids to download {SOURCE}. {WAYS} allow the download with GOLEK_OFFLINE=0",
        ),
        (
            {"MODEL_SOURCE": ""},
            f"no source is known: MODEL_SOURCE is empty, and data/catalog/models.yaml has no 'far'. {WAYS} say where",
        ),
    ],
)
def test_a_model_that_cannot_be_had_is_told_before_anything_starts(
    project: Path, values: dict[str, str], said: str
) -> None:
    """Offline, or without a source: the cause, where was looked, and three ways out."""
    deployment(project, **values)
    with pytest.raises(StartError) as caught:
        start()
    assert str(caught.value).startswith("MODEL_PATH=data/models/far/model.gguf: no such file, nor at ")
    assert said in str(caught.value)
    assert not (project / "data" / "run").exists()


def test_the_hubs_own_switch_is_honoured(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_OFFLINE forbids a download as GOLEK_OFFLINE does."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(StartError, match=f"HF_HUB_OFFLINE=1 forbids to download {SOURCE}"):
        start()


def test_a_model_of_ones_own_needs_no_catalogue_and_no_network(project: Path) -> None:
    """An env file and a GGUF file are enough."""
    deployment(project, MODEL_SOURCE="", MODEL_NAME="mine")
    (project / "data" / "models" / "mine").mkdir(parents=True)
    shutil.copy(TINY, project / "data" / "models" / "mine" / "model.gguf")
    said: list[str] = []
    start(said)
    assert not any("downloaded" in line or "the file is" in line for line in said)
    assert ask("inference.request.mine", {"input": "hello"})["text"]


def test_a_file_found_elsewhere_is_said(project: Path) -> None:
    """The folder of another server's layout is used, and nobody has to guess which file answers."""
    deployment(project, INFERENCE_MODELS_DIR="zoo")
    (project / "zoo" / "far").mkdir(parents=True)
    shutil.copy(TINY, project / "zoo" / "far" / "tiny.f16.gguf")
    said: list[str] = []
    start(said)
    assert said[0] == "far: the file is zoo/far/tiny.f16.gguf"
    assert ask("inference.request.far", {"input": "hello"})["text"]


def test_a_doubtful_source_is_said_before_the_download(hub: Hub, project: Path) -> None:
    """A catalogue entry that nobody has verified says so in one line, with where its name comes from."""
    deployment(project, MODEL_SOURCE="")
    (project / "data" / "catalog").mkdir(parents=True)
    entry = f"{{id: far, kind: inference, source: '{SOURCE}', about_gb: 0.1, verified: false, from: a list of tests}}"
    (project / "data" / "catalog" / "models.yaml").write_text(f"models:\n  - {entry}\n")
    said: list[str] = []
    start(said)
    assert said[0] == (
        f"data/models/far/model.gguf: will be downloaded from {SOURCE}, about 0.1 GB; "
        "nobody has checked that this file is there; named by: a list of tests"
    )


def test_check_tells_of_a_download_and_that_all_is_well(project: Path) -> None:
    """A missing file with a known source is no problem; nothing is asked of the hub."""
    command = [sys.executable, "-m", "golek_worker.cli", "worker", "check", "far"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"data/models/far/model.gguf: will be downloaded from {SOURCE}, size not known\nok\n"


PULL = [sys.executable, "-m", "golek_worker.cli", "pull", "far"]


def test_pull_in_a_pipe_is_quiet(hub: Hub, project: Path) -> None:
    """Whole lines, at most one per tenth, no carriage returns; a second pull finds the file."""
    done = subprocess.run(PULL, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert "\r" not in done.stdout
    lines = done.stdout.splitlines()
    assert lines[0] == f"{SOURCE} to data/models/far/model.gguf, size not known"
    assert "verified: sha256" in lines[-1]
    assert 3 <= len(lines) <= 14
    again = subprocess.run(PULL, capture_output=True, text=True, timeout=30, check=True)
    assert again.stdout == "data/models/far/model.gguf is there already\n"


def test_pull_in_a_terminal_shows_a_bar(hub: Hub, project: Path) -> None:
    """One line that is drawn over itself, with rate and time left."""
    leader, follower = pty.openpty()
    child = subprocess.Popen(PULL, stdout=follower, stderr=subprocess.DEVNULL)
    os.close(follower)
    shown = b""
    try:
        while piece := os.read(leader, 4096):
            shown += piece
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(leader)
    assert child.wait(10) == 0
    text = shown.decode()
    drawn = re.findall(
        r"\rfar downloading: +(\d+)%\|[^\r\n]*\| [\d.]+[kM]?/3\.97M \[\d\d:\d\d<[\d:?]+, +[^\r\n]*B/s\]", text
    )
    assert len(drawn) >= 3, text
    assert "% of 4" not in text


def test_interrupting_pull_keeps_what_came(hub: Hub, project: Path) -> None:
    """Ctrl-C ends it at once with 130, and the next pull goes on."""
    hub.rate = 5e5
    child = subprocess.Popen(PULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not (parts(project) and parts(project)[0].stat().st_size > 100_000):
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=5)
    assert child.returncode == 130
    assert "Traceback" not in errors
    hub.rate = None
    subprocess.run(PULL, capture_output=True, timeout=30, check=True)
    assert hub.gets()[-1].range is not None


def test_pull_of_the_catalogue_goes_where_it_is_told(hub: Hub, project: Path) -> None:
    """No deployment is needed; an unknown name lists what there is."""
    (project / "data" / "catalog").mkdir(parents=True)
    entry = f"{{id: near, kind: inference, source: '{SOURCE}', verified: false, from: tests}}"
    (project / "data" / "catalog" / "models.yaml").write_text(f"models:\n  - {entry}\n")
    to = project / "elsewhere" / "near.gguf"
    done = subprocess.run(
        [*PULL[:-1], "near", "--to", str(to)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert to.read_bytes() == TINY.read_bytes()
    into = [*PULL[:-1], "near", "--to", str(project)]
    assert subprocess.run(into, capture_output=True, timeout=30, check=False).returncode == 0
    assert (project / "far.gguf").read_bytes() == TINY.read_bytes()
    again = subprocess.run(into, capture_output=True, text=True, timeout=30, check=True)
    assert again.stdout == f"{project / 'far.gguf'} is there already\n"
    wrong = subprocess.run([*PULL[:-1], "ner", "--to", "x"], capture_output=True, text=True, timeout=30, check=False)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("ner: unknown here; did you mean near? known are far, near; or give a source: hf:")
