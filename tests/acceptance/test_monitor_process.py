"""The monitor as something people start: in the background, in the foreground, with `golek serve`, and for one look."""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from golek_monitor import service
from golek_monitor.observer import Observer
from golek_monitor.records import FleetNow
from golek_monitor.service import MonitorProcess
from golek_program.settings.monitor import Monitor
from golek_worker import process
from golek_worker.machine import monitor
from tests.support.broker import NatsServer
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.serving_process import Project, Serving

SOON_S = 15.0


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project folder in which nothing is left running."""
    made = Project(tmp_path)
    yield made
    made.golek("worker", "stop")


def dashboard(project: Project, **environment: str) -> Serving:
    return Serving(project, [sys.executable, "-m", "golek_worker.cli", "monitor", "dashboard"], environment)


def wait_for_services(project: Project, *names: str) -> None:
    """Until the monitor tells that these are online."""
    until = time.monotonic() + SOON_S
    while (found := [one["model_name"] for one in project.asked("/api/services", at=project.monitor)
                     if one["status"] == "online"]) != list(names):  # fmt: skip
        assert time.monotonic() < until, found
        time.sleep(0.05)


def test_in_the_background(project: Project) -> None:
    """It starts before there is a broker, sees the fleet that comes, is listed, and ends with everything else."""
    started = project.golek("monitor", "start")
    assert f"monitor answers at {project.monitor} after" in started.stdout, started.stderr
    assert "monitor runs already at" in project.golek("monitor", "start").stdout
    other = project.golek("monitor", "start", MONITOR_ADDR=f":{free_port()}")
    assert (other.returncode, f"but at {project.monitor}" in other.stderr) == (1, True)
    assert project.golek("worker", "start", "echo").returncode == 0
    wait_for_services(project, "echo")
    assert f"monitor at {project.monitor} (pid " in project.golek("worker", "list").stdout
    state = monitor.running(project.data)
    assert state is not None
    said = [json.loads(line) for line in Path(state.log).read_text().splitlines()]
    assert [line["event"] for line in said] == ["monitor.ready", "bus.away", "bus.heard"]
    assert f"no NATS server answers at {project.url}" in said[1]["problem"]
    assert "monitor stopped after" in project.golek("worker", "stop").stdout
    assert not process.is_running(state.id)
    assert project.golek("monitor", "stop").stdout == "no monitor of ours runs\n"


def test_a_port_that_is_taken_is_told_with_its_holder(project: Project) -> None:
    """The setting, and who has it; `golek serve` goes on without one, unless it was asked for."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(project.monitor.rpartition(":")[2])))
        taken.listen()
        wrong = f"MONITOR_ADDR={project.monitor.removeprefix('http://')}: in use by "
        failed = project.golek("monitor", "start")
        assert (failed.returncode, failed.stderr.startswith(wrong)) == (1, True), failed.stderr
        assert f"(pid {os.getpid()})" in failed.stderr
        with project.serve("echo", "--no-gateway") as serving:
            serving.wait_for(f"without a monitor: {wrong}")
            serving.wait_for("| ready after")
            assert serving.end() == 0
        with project.serve("echo", "--no-gateway", "--monitor") as serving:
            assert serving.wait() == 1
            assert wrong in serving.text


def test_an_address_for_others_needs_a_key(project: Project) -> None:
    """Without one it does not start, in the background or the foreground; with one nobody looks without it."""
    public = f"0.0.0.0:{project.monitor.rpartition(':')[2]}"
    for command in ("start", "run", "dashboard"):
        failed = project.golek("monitor", command, MONITOR_ADDR=public)
        assert failed.returncode == 1
        assert f"MONITOR_ADDR={public}: others reach it, and MONITOR_KEY is empty" in failed.stderr
    started = project.golek("monitor", "start", MONITOR_ADDR=public, MONITOR_KEY="k-1")
    assert started.returncode == 0, started.stderr
    port = project.monitor.rpartition(":")[2]
    assert f"other machines reach it at http://{socket.gethostname()}:{port}, with MONITOR_KEY" in started.stdout
    assert f"MONITOR_KEY: 3 characters, and others reach MONITOR_ADDR={public}" in started.stderr
    assert project.asked("/healthz", at=project.monitor) == {"status": "ok"}
    with pytest.raises(OSError, match="401"):
        project.asked("/api/services", at=project.monitor)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_dashboard_says_where_it_is(project: Project, number: signal.Signals) -> None:
    """On its own address and on the one where people look for it. A second one tells of the first and leaves it alone;
    Ctrl-C ends it, also while a browser listens."""
    second = f"127.0.0.1:{free_port()}"
    with dashboard(project, MONITOR_DASHBOARD_ADDR=second) as serving:
        serving.wait_for(f"the page is at {project.monitor} and http://{second}; Ctrl-C ends it")
        serving.wait_for(f"no fleet is heard, and waited for: no NATS server answers at {project.url}")
        assert project.golek("broker", "start").returncode == 0
        serving.wait_for(f"the fleet is heard at {project.url}")
        for where in (project.monitor, f"http://{second}"):
            assert project.asked("/api/overview", at=where)["monitor_id"]
        again = project.golek("monitor", "dashboard")
        assert (again.returncode, again.stdout) == (0, f"the monitor runs already: {project.monitor}\n")
        with socket.create_connection(("127.0.0.1", int(second.rpartition(":")[2]))) as browser:
            browser.sendall(b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert browser.recv(1000).startswith(b"HTTP/1.1 200 OK")
            began = time.monotonic()
            assert serving.end(number) == 0
            assert time.monotonic() - began < 2.5


def test_where_people_look_for_it_somebody_else_may_be(project: Project) -> None:
    """Then it says so, and is on its own address alone."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        second = f"127.0.0.1:{taken.getsockname()[1]}"
        with dashboard(project, MONITOR_DASHBOARD_ADDR=second) as serving:
            serving.wait_for(f"the page is at {project.monitor}; Ctrl-C ends it")
            assert f"MONITOR_DASHBOARD_ADDR={second}: {second} cannot be served: something listens" in serving.text
            assert "monitor is told to stop" in project.golek("worker", "stop").stdout
            assert serving.wait() == 0


def test_golek_serve_uses_a_monitor_that_is_there(project: Project) -> None:
    """Whoever started it, and leaves it running."""
    with dashboard(project) as page:
        page.wait_for("the page is at")
        with project.serve("echo", "--no-gateway", GOLEK_DATA=str(project.folder / "other")) as serving:
            serving.wait_for(f"a monitor answers at {project.monitor} already, and is used")
            serving.wait_for("| ready after")
            assert serving.end() == 0
        assert project.asked("/healthz", at=project.monitor) == {"status": "ok"}
        assert page.end() == 0


def test_one_look_tells_health_by_its_exit_status(project: Project) -> None:
    """3 without a broker, 1 without a worker, 0 when the model takes requests, 1 when its worker was killed, 0 when it
    was stopped in order. It starts nothing, and needs no monitor."""
    away = project.golek("monitor", "status")
    assert (away.returncode, away.stdout) == (3, "")
    assert f"the fleet cannot be seen: no NATS server answers at {project.url}" in away.stderr
    told = project.golek("monitor", "status", "--json")
    assert (told.returncode, msgspec.json.decode(told.stdout, type=FleetNow).connected) == (3, False)
    assert project.golek("broker", "start").returncode == 0
    empty = project.golek("monitor", "status")
    assert empty.returncode == 1
    assert "critical: no worker is there: `make start WORKER=name` starts one" in empty.stdout
    assert project.golek("worker", "start", "echo").returncode == 0
    healthy = project.golek("monitor", "status", "--wait", "10")
    assert healthy.returncode == 0, healthy.stdout
    assert healthy.stdout.splitlines()[-1] == "healthy: every model takes requests"
    assert "no monitor runs here (golek monitor start)" in healthy.stdout
    now = msgspec.json.decode(project.golek("monitor", "status", "--json").stdout, type=FleetNow)
    assert ([one.model_name for one in now.services], now.overview.workers_online) == (["echo"], 1)
    assert (now.services[0].requests_per_s, now.overview.requests_per_s) == (0.0, 0.0)  # counted twice, so known
    os.kill(project.pid("echo"), signal.SIGKILL)
    lost = project.golek("monitor", "status")
    assert lost.returncode == 1
    assert "critical: nobody serves echo: its last worker was heard at" in lost.stdout
    assert project.golek("worker", "start", "echo").returncode == 0
    assert project.golek("worker", "stop", "echo").returncode == 0
    stopped = project.golek("monitor", "status")
    assert stopped.returncode == 0, stopped.stdout
    assert stopped.stdout.splitlines()[-1] == "healthy: every model takes requests but echo, which was stopped"
    assert project.golek("monitor", "status", "--wait", "soon").returncode == 2


def test_a_setting_that_is_wrong_is_no_sick_fleet(project: Project) -> None:
    """2 and not 1, which says that something needs attention; programs are given an object all the same."""
    told = project.golek("monitor", "status", "--json", NATS_URL="http://127.0.0.1:4222")
    assert (told.returncode, json.loads(told.stdout)["connected"]) == (2, False)
    assert told.stderr.startswith("NATS_URL=http://127.0.0.1:4222: ")


def test_a_mistyped_key_is_told_whoever_starts_it(project: Project) -> None:
    """On the terminal, and in its log, as a worker does; it starts all the same."""
    (project.folder / ".env").write_text("MONITOR_ADRR=:1\n")
    said = "MONITOR_ADRR: unknown key in .env; did you mean MONITOR_ADDR?"
    with dashboard(project, MONITOR_DASHBOARD_ADDR="off") as serving:
        serving.wait_for(said)
        serving.wait_for("the page is at")
        assert serving.end() == 0
    started = project.golek("monitor", "start")
    assert (started.returncode, said in started.stderr) == (0, True)
    state = monitor.running(project.data)
    assert state is not None
    first = json.loads(Path(state.log).read_text().splitlines()[0])
    assert (first["event"], first["level"], first["problem"]) == ("settings.remark", "warning", said)


def test_a_wrong_login_is_told(project: Project, tmp_path: Path) -> None:
    """3, with who was refused and what says who logs in."""
    folder = tmp_path / "locked"
    folder.mkdir()
    server = NatsServer(folder, 'authorization: { user: "ann", password: "right" }').start()
    try:
        refused = project.golek("monitor", "status", NATS_URL=server.url, NATS_USER="ann", NATS_PASSWORD="wrong")
        assert refused.returncode == 3
        assert f"the NATS server at {server.url} refuses this user and password" in refused.stderr
        let_in = project.golek("monitor", "status", NATS_URL=server.url, NATS_USER="ann", NATS_PASSWORD="right")
        assert (let_in.returncode, "no worker is there" in let_in.stdout) == (1, True)
    finally:
        server.stop()


def test_it_is_encrypted_where_a_certificate_is_given(project: Project, tmp_path: Path) -> None:
    """By HTTP_TLS_CERT, as the gateway is."""
    signed = Authority(tmp_path / "tls").sign("monitor", "IP:127.0.0.1")
    tls = {"HTTP_TLS_CERT": signed.cert, "HTTP_TLS_KEY": signed.key}
    started = project.golek("monitor", "start", **tls)
    assert f"monitor answers at {project.monitor.replace('http:', 'https:')} after" in started.stdout, started.stderr
    again = project.golek("monitor", "dashboard", **tls)
    assert again.stdout == f"the monitor runs already: {project.monitor.replace('http:', 'https:')}\n"
    wrong = project.golek("monitor", "run", HTTP_TLS_CERT="nowhere.pem", MONITOR_ADDR=f":{free_port()}")
    assert (wrong.returncode, "HTTP_TLS_CERT=nowhere.pem: No such file" in wrong.stderr) == (1, True)


WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("psutil", "aiosqlite", "llama_cpp", "textual"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
"""


def test_it_needs_nothing_of_a_worker(project: Project, tmp_path: Path) -> None:
    """Where only the monitor is installed it shows and serves; what is missing for the terminal is named."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    path = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{project.environment['PYTHONPATH']}"}
    assert project.golek("monitor", "status", **path).returncode == 3
    terminal = project.golek("monitor", "tui", **path)
    assert (terminal.returncode, "pip install 'golek[monitor]' (no module named textual)" in terminal.stderr) == (
        1,
        True,
    )
    with dashboard(project, **path) as serving:
        serving.wait_for(f"the page is at {project.monitor}")
        assert serving.end() == 0


def test_a_part_that_dies_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With why, instead of a page that stands still."""

    async def dies(_: Observer) -> None:
        raise ValueError("out of order")

    monkeypatch.setattr(Observer, "run", dies)
    chosen = Monitor(
        monitor_addr=f":{free_port()}", nats_url=f"nats://127.0.0.1:{free_port()}", golek_data=str(tmp_path)
    )
    assert service.run(lambda: MonitorProcess(chosen)) == 1
    assert "a part of it failed: ValueError: out of order" in "".join(capfd.readouterr())


def test_it_is_called_as_people_call_it(project: Project) -> None:
    """Help names `golek monitor`, wherever it comes from."""
    assert "status" in project.golek("monitor", "--help").stdout
    assert "Usage: golek monitor status [OPTIONS]" in project.golek("monitor", "status", "--help").stdout
