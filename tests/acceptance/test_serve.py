"""`golek serve`: real processes, from one command to Ctrl-C."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

import psutil
import pytest

from golek_client import Golek
from golek_wire.errors import ConflictError, ModelNotFoundError
from golek_wire.signals import Residence
from golek_worker import process
from golek_worker.bus import embedded
from golek_worker.machine import gateway, monitor, runfile, supervised
from tests.support.leaving import left
from tests.support.serving_process import Project, Serving

GONE_S = 10.0


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


async def test_one_command_serves_and_ctrl_c_ends_all(project: Project) -> None:
    """Broker, two workers, gateway and monitor are there, on bus and HTTP; afterwards no process and no run file is."""
    with project.serve("golek-tiny", "echo") as serving:
        serving.wait_for("serve        | ready at " + project.http)
        async with Golek(project.url, deadline=20) as golek:
            assert (await golek.ask("echo", "hello")).text == "hello"
            assert (await golek.ask("golek-tiny", "hello", max_tokens=3)).tokens_out == 3
        said = project.asked(
            "/v1/chat/completions", {"model": "golek-tiny", "messages": [{"role": "user", "content": "hello"}]}
        )
        assert said["choices"][0]["message"]["role"] == "assistant"
        listed = project.golek("worker", "list").stdout
        assert f"gateway at {project.http} (pid " in listed
        assert f"monitor at {project.monitor} (pid " in listed
        assert f"golek serve (pid {serving.process.pid})" in listed
        family = serving.family()
        assert len(family) == 7  # the broker, two workers with an engine each, the gateway, the monitor
        assert f"to watch it: {project.monitor}, or `golek monitor tui`" in serving.wait_for("to watch it")
        services = project.asked("/api/services", at=project.monitor)
        assert [(one["model_name"], one["status"]) for one in services] == [
            ("echo", "online"),
            ("golek-tiny", "online"),
        ]
        assert serving.end() == 0
        assert left(family, GONE_S) == []
    assert runfile.read_all(project.data) == []
    assert (gateway.running(project.data), supervised.running(project.data)) == (None, None)
    assert monitor.running(project.data) is None
    assert embedded.running(project.data) is None
    order = [serving.text.rindex(part) for part in ("gateway      | stopped", "echo-1       | stopped", "| nats://")]
    assert order == sorted(order)


def test_a_worker_that_is_killed_is_started_again(project: Project) -> None:
    """It says so, and the new one serves; one that was told to stop stays away."""
    with project.serve("echo", "--no-gateway", "--no-monitor") as serving:
        serving.wait_for("server.ready")
        first = project.pid("echo")
        os.kill(first, signal.SIGKILL)
        serving.wait_for("echo-1 | died of signal 9; it is started again in 0.5 s")
        serving.wait_for("server.ready", times=2)
        assert project.pid("echo") != first
        assert project.golek("req", "inference.request.echo", '{"input": "hello"}').returncode == 0
        assert "stopped after" in project.golek("worker", "stop", "echo").stdout
        serving.wait_for("ended, as somebody told it to; it is not started again")
        assert serving.end() == 0


async def test_what_runs_already_is_used_and_left(project: Project) -> None:
    """A worker and a broker that `make start` started are there before, meanwhile and afterwards."""
    assert project.golek("worker", "start", "echo").returncode == 0
    try:
        pid = project.pid("echo")
        with project.serve("echo", "golek-tiny", "--no-gateway") as serving:
            serving.wait_for("| ready after")
            assert f"echo-1       | runs already (online, pid {pid}); it is used, and left running" in serving.text
            assert serving.end() == 0
        assert psutil.pid_exists(pid)
        assert embedded.running(project.data) is not None
        async with Golek(project.url, deadline=20) as golek:
            assert (await golek.ask("echo", "still here")).text == "still here"
    finally:
        project.golek("worker", "stop")
    assert embedded.running(project.data) is None


async def test_a_model_is_started_when_it_is_asked_to_load(project: Project) -> None:
    """By whoever has an env file or an entry in the catalogue, and it says how far it is; what nobody has is told."""
    with project.serve("echo", "--no-gateway") as serving:
        serving.wait_for("| ready after")
        async with Golek(project.url, deadline=20) as golek:
            (report,) = await golek.startable()
            there = {one.name: one for one in report.models}
            assert (there["echo"].runs, there["golek-tiny"].runs) == (True, False)
            assert there["golek-tiny"].has_file
            assert there["phi-4"].deployment == "phi-4"
            assert not there["phi-4"].has_file
            said: list[Residence] = []
            (done,) = await golek.load("golek-tiny", on_status=said.append)
            assert (done.status, done.problem, done.model_name) == ("online", None, "golek-tiny")
            assert done.worker_id == runfile.worker_id("golek-tiny", 1)
            assert said[0].worker_id == done.worker_id
            assert (await golek.ask("golek-tiny", "hello", max_tokens=3)).tokens_out == 3
            with pytest.raises(ModelNotFoundError, match="did you mean golek-tiny") as caught:
                await golek.load("golek-tyny")
            assert "phi-4" in caught.value.details["available"]
        raw = project.golek("req", "hosts.start", '{"model": "golek-tiny"}', "--timeout", "10s").stdout
        assert '"status":"online"' in raw.replace(" ", "")
        assert "MODEL_NOT_FOUND" in project.golek("req", "hosts.start", '{"model": "x"}', "--timeout", "10s").stdout
        family = serving.family()
        assert serving.end(signal.SIGTERM) == 0
        assert left(family, GONE_S) == []


async def test_a_model_that_cannot_start_says_why(project: Project) -> None:
    """Whoever ordered it hears what is wrong with its settings."""
    (project.folder / "envs" / "worker.gone.env").write_text("MODEL_NAME=gone\nMODEL_PATH=/nowhere/model.gguf\n")
    with project.serve("echo", "--no-gateway", "--no-monitor") as serving:
        serving.wait_for("| ready after")
        async with Golek(project.url, deadline=20) as golek:
            (done,) = await golek.load("gone")
            assert done.status == "failed"
            assert "MODEL_PATH=/nowhere/model.gguf: no such file" in str(done.problem)
            assert (await golek.ask("echo", "hello")).text == "hello"
        assert "gone-1 | given up: MODEL_PATH=/nowhere/model.gguf" in serving.text
        assert serving.end() == 0


def test_a_model_that_cannot_be_loaded_is_given_up(project: Project) -> None:
    """At once: its worker takes requests while it loads, and is not started again and again for that."""
    (project.folder / "envs" / "worker.gone.env").write_text(
        "MODEL_NAME=gone\nENGINE=openai\nSERVER_COMMAND=/bin/false\n"
    )
    with project.serve("gone", "--no-gateway", "--no-monitor") as serving:
        assert serving.wait() == 1
        assert "gone-1 | given up: openai: it ended with exit status 1" in serving.text
        assert "it is started again" not in serving.text


async def test_without_a_supervisor_the_command_is_told(nats_server: str, project: Project) -> None:
    """409 with what to type: for a model nobody knows, and for one that was there, by its deployment's name."""
    async with Golek(nats_server, deadline=10) as golek:
        assert await golek.startable() == []
        with pytest.raises(
            ConflictError, match=r"`make start WORKER=golek-tiny` on a machine that has envs/"
        ) as caught:
            await golek.load("golek-tiny")
        assert caught.value.details["command"] == "make start WORKER=golek-tiny"


def test_nothing_to_serve_is_an_error(project: Project) -> None:
    """A model file that is missing: why, exit status 1, and nothing is left running."""
    (project.folder / ".env").write_text("LLM_MODEL=/models/none.gguf\n")
    with project.serve() as serving:
        assert serving.wait() == 1
    assert "none-1  | given up: MODEL_PATH=/models/none.gguf: no such file" in serving.text
    assert "serve   | nothing is left to serve" in serving.text
    assert embedded.running(project.data) is None


def test_a_preset_that_there_is_not_is_told(project: Project) -> None:
    """Where it stands, and what may have been meant; nothing is started."""
    (project.folder / ".env").write_text("INFERENCE_CONFIG=D33\n")
    said = project.golek("serve")
    assert said.returncode == 1
    assert "INFERENCE_CONFIG (in .env): D33: no such preset; did you mean D3?" in said.stderr
    assert embedded.running(project.data) is None


def statuses(project: Project) -> dict[str, str]:
    """Of all models, as the gateway lists them."""
    return {one["id"]: one["status"] for one in project.asked("/v1/models")["data"]}


def test_a_model_named_by_its_file_alone_is_served(project: Project, tmp_path: Path) -> None:
    """`LLM_MODEL=… golek serve`: the model is called as the file."""
    (tmp_path / "small.gguf").symlink_to((project.folder / "data/models/golek-tiny/model.gguf").resolve())
    with project.serve(LLM_MODEL=str(tmp_path / "small.gguf")) as serving:
        serving.wait_for(f"ready at {project.http}")
        listed = statuses(project)
        while listed["small"] == "loading":  # its worker's record is renewed right after it is ready
            listed = statuses(project)
        assert (listed["small"], listed["echo"], listed["phi-4"]) == ("loaded", "available", "available")
        said = project.asked("/v1/completions", {"model": "small", "prompt": "hello", "max_tokens": 3})
        assert said["usage"]["completion_tokens"] == 3
        assert serving.end() == 0


def test_a_mistyped_key_is_told_by_config(project: Project) -> None:
    """Of all deployments and of one, on stderr, so that the table stays one."""
    (project.folder / ".env").write_text("GOLEK_LOGLEVEL=debug\n")
    for command in (["config"], ["config", "echo"]):
        said = project.golek(*command)
        assert (said.returncode, said.stderr) == (
            0,
            "GOLEK_LOGLEVEL: unknown key in .env; did you mean GOLEK_LOG_LEVEL?\n",
        )


def test_a_worker_whose_port_is_taken_says_which_setting_and_who(project: Project) -> None:
    """HTTP_ADDR, and the gateway that listens there; given up, nothing is said to be ready."""
    port = project.http.rpartition(":")[2]
    assert project.golek("gateway", "start").returncode == 0
    try:
        with project.serve("echo", HTTP_ADDR=f":{port}") as serving:
            serving.wait_for("nothing is left to serve")
            assert serving.wait() == 1
        assert f"HTTP_ADDR=:{port}: 127.0.0.1:{port} cannot be served" in serving.text
        assert "something listens there already, the gateway (pid " in serving.text
        assert "serve   | ready" not in serving.text
    finally:
        project.golek("worker", "stop")


def test_a_taken_port_is_told_before_anything_starts(project: Project) -> None:
    """With the setting, and who has it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(project.environment["INFERENCE_PORT"])))
        taken.listen()
        with project.serve("echo") as serving:
            assert serving.wait() == 1
    assert f"INFERENCE_PORT={project.environment['INFERENCE_PORT']}: in use by " in serving.text
    assert f"(pid {os.getpid()})" in serving.text
    assert embedded.running(project.data) is None


def test_there_is_one_of_it(project: Project) -> None:
    """A second one on the same folder says who the first is; `make stop` ends the first with all that it started."""
    with project.serve("echo", "--no-gateway") as serving:
        serving.wait_for("| ready after")
        second = project.golek("serve", "echo", "--no-gateway")
        assert second.returncode == 1
        assert f"golek serve runs already on GOLEK_DATA={project.data} (pid {serving.process.pid})" in second.stderr
        family = serving.family()
        stopped = project.golek("worker", "stop")
        assert f"golek serve (pid {serving.process.pid}) is told to stop all it started" in stopped.stdout
        assert serving.wait() == 0
        assert left(family, GONE_S) == []


def test_killed_it_takes_its_children_along(project: Project) -> None:
    """No worker goes on by itself; the next one takes the broker over and ends it."""
    with project.serve("echo", "--no-gateway") as serving:
        serving.wait_for("| ready after")
        broker = embedded.running(project.data)
        assert broker is not None
        children = [one for one in serving.family() if one.pid != broker.process.pid]
        serving.process.kill()
        serving.wait()
        assert left(children, GONE_S) == []
        with project.serve("echo", "--no-gateway") as second:
            second.wait_for("| ready after")
            assert embedded.running(project.data) == broker
            assert second.end() == 0
        assert embedded.running(project.data) is None


DEAF = """
import asyncio
from golek_worker import settings
from golek_worker.supervisor.supervisor import Supervisor
supervisor = Supervisor(settings.load_service(), ["echo"], with_gateway=False,
                        worker_module="tests.support.standin_worker")
raise SystemExit(asyncio.run(supervisor.run()))
"""


def test_a_second_ctrl_c_kills(project: Project) -> None:
    """A worker that does not end is not waited for."""
    with Serving(project, [sys.executable, "-c", DEAF], {"STANDIN": "deaf"}) as serving:
        serving.wait_for("| ready after")
        family = serving.family()
        serving.process.send_signal(signal.SIGINT)
        serving.wait_for("ends what it started; once more kills it")
        began = time.monotonic()
        assert serving.end() == 0
        assert time.monotonic() - began < 10
        assert left(family, GONE_S) == []
        serving.wait_for("echo-1 | killed")


def test_the_gateway_alone(project: Project) -> None:
    """`golek gateway start` returns when it answers and says where; a second start finds it; `status` and `stop`."""
    try:
        started = project.golek("gateway", "start")
        assert f"gateway answers at {project.http} after" in started.stdout, started.stderr
        assert "gateway runs already at" in project.golek("gateway", "start").stdout
        status = project.golek("gateway", "status")
        assert (status.returncode, f"gateway answers at {project.http} (pid " in status.stdout) == (0, True)
        other = project.golek("gateway", "start", "--port", "1")
        assert (other.returncode, f"but at {project.http}" in other.stderr) == (1, True)
        state = gateway.running(project.data)
        assert state is not None
        assert "gateway stopped after" in project.golek("gateway", "stop").stdout
        assert not process.is_running(state.id)
        assert project.golek("gateway", "status").returncode == 1
        assert project.golek("gateway", "stop").stdout == "no gateway of ours runs\n"
        assert project.golek("gateway", "start").returncode == 0
    finally:
        stopped = project.golek("worker", "stop").stdout
    assert "gateway stopped after" in stopped
    assert embedded.running(project.data) is None


def test_a_gateway_that_cannot_start_says_why(project: Project) -> None:
    """Its own word, and where its log is; nothing is left of it."""
    project.golek("broker", "start")
    try:
        failed = project.golek("gateway", "start", INFERENCE_HOST="0.0.0.0")
        assert failed.returncode == 1
        assert "the gateway did not start, it ended with code 1" in failed.stderr
        assert "GOLEK_ALLOW_ANON=1" in failed.stderr
        assert gateway.running(project.data) is None
    finally:
        project.golek("worker", "stop")


def test_a_gateway_for_others_says_what_it_opens(project: Project) -> None:
    """Both ports and the missing certificate; its one log is the file that `status` names."""
    project.golek("broker", "start")
    try:
        project.golek("keys", "create", "ann", "--rpm", "60")
        started = project.golek("gateway", "start", INFERENCE_HOST="0.0.0.0")
        state = gateway.running(project.data)
        assert state is not None, started.stderr
        (said,) = [line for line in started.stdout.splitlines() if line.startswith("other machines reach it")]
        assert "INFERENCE_HOST=0.0.0.0" in said
        assert f"port {project.http.rpartition(':')[2]}" in said
        assert "HTTP_TLS_CERT" in said
        alone = project.golek("gateway", "start")
        assert (alone.returncode, "INFERENCE_HOST=0.0.0.0 (pid" in alone.stderr) == (1, True)
        assert "gateway.ready" in Path(state.log).read_text()
        assert sorted(path.name for path in (project.data / "logs" / "gateway").iterdir()) == [
            Path(state.log).name,
            "latest.txt",
        ]
        assert not (project.data / "logs" / "_boot").exists()
    finally:
        project.golek("worker", "stop")


def test_the_gateway_runs_in_the_foreground(project: Project) -> None:
    """`golek gateway run` ends on Ctrl-C."""
    project.golek("broker", "start")
    try:
        command = [sys.executable, "-m", "golek_worker.cli", "gateway", "run"]
        with Serving(project, command, {}) as running:
            running.wait_for("gateway.ready")
            state = gateway.running(project.data)
            assert state is not None
            assert state.pid == running.process.pid
            assert project.golek("gateway", "status").returncode == 0
            assert running.end() == 0
        assert gateway.running(project.data) is None
    finally:
        project.golek("worker", "stop")
