"""Supervisors of several machines on one broker: what each could start, and who starts what is ordered."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from golek_client import Golek
from golek_client.starting import GATHER_S
from golek_program.settings.fleet import Fleet
from golek_wire import headers
from golek_wire.errors import ForbiddenError, ModelNotFoundError, UnauthorizedError
from golek_wire.hosts import HostReport
from golek_wire.signals import Residence
from golek_worker.supervisor.child import Child
from golek_worker.supervisor.hosting import Hosting
from golek_worker.supervisor.programs import WorkerProgram
from tests.support import raw
from tests.support.workers import ROOT

STANDIN = "tests.support.standin_worker"
ANN, BOB = "ann-key-0123456789abcdef", "bob-key-0123456789abcdef"


class Machine:
    """One supervisor's ears, with deployments of its own; what it starts is a stand-in."""

    def __init__(self, folder: Path, fleet: Fleet, *deployments: str) -> None:
        self.envs = folder / "envs"
        self.envs.mkdir(parents=True)
        for name in deployments:
            (self.envs / f"worker.{name}.env").write_text(f"MODEL_NAME={name}\nENGINE=echo\n")
        self.started: dict[str, Child] = {}
        self.tasks: list[asyncio.Task[None]] = []
        self.hosting = Hosting(fleet, self.envs, self.start)

    def start(self, deployment: str) -> Child:
        if deployment not in self.started:
            child = Child(WorkerProgram(deployment, self.envs, STANDIN), lambda _: None)
            self.started[deployment] = child
            self.tasks.append(asyncio.create_task(child.run()))
        return self.started[deployment]

    async def end(self) -> None:
        for child in self.started.values():
            child.tell_to_end()
        await asyncio.gather(*self.tasks)


@pytest.fixture
async def machines(nats_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Machine]]:
    """Two machines: `alpha` and `both` on the first, `beta` and `both` on the second. No catalogue on either."""
    monkeypatch.setenv("NATS_URL", nats_server)
    monkeypatch.setenv("GOLEK_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    fleet = Fleet(nats_url=nats_server, golek_data=str(tmp_path / "data"))
    async with AsyncExitStack() as stack:
        made = [Machine(tmp_path / "1", fleet, "alpha", "both"), Machine(tmp_path / "2", fleet, "beta", "both")]
        for machine in made:
            await machine.hosting.open(stack)
            stack.push_async_callback(machine.end)
        yield made


async def test_every_machine_tells_what_it_could_start(nats_server: str, machines: list[Machine]) -> None:
    """Within half a second and a bit, however many there are."""
    loop = asyncio.get_running_loop()
    async with Golek(nats_server, deadline=10) as golek:
        began = loop.time()
        reports = await golek.startable()
        assert loop.time() - began < 2
        assert sorted([one.name for one in report.models] for report in reports) == [
            ["alpha", "both"],
            ["beta", "both"],
        ]
        assert {report.host for report in reports} == {machine.hosting.host for machine in machines}


async def test_a_busy_machine_is_waited_for(
    nats_server: str, machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That nobody listens is known at once: so where somebody does, it may take its time to read its files."""
    for machine in machines:
        quick = machine.hosting._report

        async def report(quick: Callable[[], Awaitable[HostReport]] = quick) -> HostReport:
            await asyncio.sleep(GATHER_S + 0.2)
            return await quick()

        monkeypatch.setattr(machine.hosting, "_report", report)
    async with Golek(nats_server, deadline=10) as golek:
        assert len(await golek.startable()) == 2


async def test_the_machine_that_has_it_starts_it(nats_server: str, machines: list[Machine]) -> None:
    """Whichever hears the order; each model once, however often it is ordered."""
    first, second = machines
    async with Golek(nats_server, deadline=10) as golek:
        said: list[Residence] = []
        for model in ("beta", "alpha", "beta"):
            (done,) = await golek.load(model, timeout=20, on_status=said.append)
            assert (done.model_name, done.status, done.problem) == (model, "online", None)
        assert (list(first.started), list(second.started)) == (["alpha"], ["beta"])
        assert {one.model_name for one in said} == {"alpha", "beta"}
        with pytest.raises(ModelNotFoundError, match="could not start it: did you mean alpha") as caught:
            await golek.load("alpah")
        assert caught.value.details["available"] == ["alpha", "beta", "both"]


async def test_an_order_to_any_reaches_the_one_that_can(nats_server: str, machines: list[Machine]) -> None:
    """Whoever speaks NATS without our client gets one answer, from whichever machine; what none has is error 404."""
    async with raw.connected(nats_server) as client:
        for model in ("alpha", "beta", "alpha", "beta"):
            done, _ = await raw.ask(client, "hosts.start", {"model": model})
            assert (done["model_name"], done["status"]) == (model, "online")
        refused, message = await raw.ask(client, "hosts.start", {"model": "gamma"})
        assert refused["error"]["code"] == "MODEL_NOT_FOUND"
        assert message.headers is not None
        assert message.headers[headers.ERROR_CODE] == "404"
        wrong, _ = await raw.ask(client, "hosts.start", {"model": 3})
        assert (wrong["error"]["code"], wrong["error"]["param"]) == ("BAD_REQUEST", "model")
        (here, *_) = machines
        not_here, _ = await raw.ask(client, f"hosts.start.{here.hosting.host}", {"model": "beta"})
        assert not_here["error"]["code"] == "MODEL_NOT_FOUND"
        assert not_here["error"]["details"]["available"] == ["alpha", "both"]


async def test_a_fleet_with_keys_wants_one_for_an_order(
    nats_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may order a model's workers may have it started; a key for other models may not."""
    file = tmp_path / "api_keys.txt"
    file.write_text(f"ann:{ANN}\nbob:{BOB} models=other\n")
    file.chmod(0o600)
    monkeypatch.setenv("NATS_URL", nats_server)
    monkeypatch.setenv("GOLEK_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    fleet = Fleet(
        nats_url=nats_server, golek_data=str(tmp_path / "data"), golek_nats_identity="keys", golek_key_file=str(file)
    )
    async with AsyncExitStack() as stack:
        machine = Machine(tmp_path / "1", fleet, "alpha")
        await machine.hosting.open(stack)
        stack.push_async_callback(machine.end)
        for key, refusal in ((BOB, ForbiddenError), ("nobody", UnauthorizedError), ("", UnauthorizedError)):
            async with Golek(nats_server, deadline=10, key=key) as golek:
                with pytest.raises(refusal):
                    await golek.load("alpha")
        assert machine.started == {}
        async with Golek(nats_server, deadline=10, key=ANN) as golek:
            assert [done.status for done in await golek.load("alpha")] == ["online"]
