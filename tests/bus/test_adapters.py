"""LoRA adapters over the bus: from the env file, by order, in replicas that start later, and after a crash."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from golek_client import AdapterNotFoundError, BadRequestError, Golek, NoWorkersError
from golek_wire import headers
from golek_wire.adapters import AdapterReport
from tests.support import adapters, raw
from tests.support.workers import WorkerProcess

MODEL = Path("data/models/golek-tiny/model.gguf").absolute()
TINY = "golek-tiny"
SMALL = {"CTX_SIZE": 256, "WORKER_CONCURRENCY": 2, "MODEL_THREADS": 1}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with two adapters."""
    for seed in (1, 2):
        adapters.write(tmp_path / f"{seed}.gguf", MODEL, seed)
    return tmp_path


@pytest.fixture
def worker(nats_server: str, files: Path) -> Iterator[WorkerProcess]:
    """A replica with one adapter in its env file."""
    with WorkerProcess(nats_server, files / "data", TINY, ADAPTERS=f"one={files}/1.gguf", **SMALL) as worker:
        yield worker


@pytest.fixture
async def golek(nats_server: str) -> AsyncIterator[Golek]:
    async with Golek(nats_server, deadline=20) as golek:
        yield golek


async def says(golek: Golek, adapter: str | None = None) -> str:
    reply = await golek.ask(TINY, "What is a lease?", adapter=adapter, temperature=0, max_tokens=16, ignore_eos=True)
    return reply.text


def names(report: AdapterReport) -> list[str]:
    return [one.name for one in report.adapters]


async def test_adapters_come_and_go_while_a_model_serves(
    worker: WorkerProcess, golek: Golek, files: Path, nats_server: str
) -> None:
    """The env file's is there; another is loaded, used, known to a later replica, kept over a crash, and unloaded."""
    base, one = await says(golek), await says(golek, "one")
    with pytest.raises(AdapterNotFoundError, match="'two' is loaded; loaded are one") as caught:
        await says(golek, "two")
    assert caught.value.details["param"] == "adapter"
    (report,) = await golek.load_adapter(TINY, "two", f"{files}/2.gguf", scale=0.5)
    assert (names(report), report.problem, report.adapters[1].scale) == (["one", "two"], None, 0.5)
    texts = [base, one, await says(golek, "two")]
    assert len(set(texts)) == 3
    assert (await golek.health(TINY)).adapters == ["one", "two"]

    worker.child.kill()
    assert await asyncio.gather(says(golek), says(golek, "one"), says(golek, "two")) == texts

    with WorkerProcess(nats_server, files / "later", TINY, replica=2, **SMALL):
        reports = await golek.adapters(TINY)
        assert [names(report) for report in reports] == [["one", "two"], ["two"]]
        reports = await golek.unload_adapter(TINY, "two")
        assert [(names(report), report.problem) for report in reports] == [(["one"], None), ([], None)]
        with pytest.raises(AdapterNotFoundError):
            await says(golek, "two")
    assert await says(golek) == base


async def test_a_wrong_order_is_told_and_changes_nothing(
    worker: WorkerProcess, golek: Golek, files: Path, nats_server: str
) -> None:
    """A file that is no adapter, a name that is none, a model that nobody serves."""
    (report,) = await golek.load_adapter(TINY, "bad", str(MODEL))
    assert "not a LoRA adapter" in (report.problem or "")
    (report,) = await golek.load_adapter(TINY, "bad", f"{files}/none.gguf")
    assert f"{files}/none.gguf: cannot be read: No such file" in (report.problem or "")
    assert names(report) == ["one"]
    (report,) = await golek.unload_adapter(TINY, "bad")
    assert "'bad' is loaded; loaded are one" in (report.problem or "")
    with pytest.raises(BadRequestError, match="name: at most 128"):
        await golek.load_adapter(TINY, "a b", "x")
    async with raw.connected(nats_server) as client:
        wrong, _ = await raw.ask(client, f"models.{TINY}.adapters.load", {"name": "x", "scale": "much"})
    assert (wrong["error"]["code"], wrong["error"]["param"]) == ("BAD_REQUEST", "scale")
    worker.end()
    with pytest.raises(NoWorkersError):
        await golek.adapters(TINY)


async def test_what_a_start_should_know_is_told(nats_server: str, golek: Golek, tmp_path: Path) -> None:
    """An adapter that only the engine finds wrong, and a GPU that is not there: in run file, health and list."""
    adapters.write(tmp_path / "nan.gguf", MODEL, 1, strength=float("nan"))
    with WorkerProcess(
        nats_server, tmp_path / "data", TINY, ADAPTERS=f"x={tmp_path}/nan.gguf", GPU_DEVICES="CUDA0", **SMALL
    ) as worker:
        state, health, (report,) = worker.state(), await golek.health(TINY), await golek.adapters(TINY)
        assert state is not None
        *gpu, said = state.remarks
        assert all(line.startswith("0 layers on a GPU: GPU_DEVICES=CUDA0: ") for line in gpu)
        assert bool(gpu) == bool(health.device_problem)
        assert said == f"adapter x is not loaded: {health.adapter_problems['x']}"
        assert f"{tmp_path}/nan.gguf: with it the model computes no numbers" in said
        assert (health.adapter_problems, names(report)) == (report.failed, [])


async def test_a_malformed_order_is_answered(worker: WorkerProcess, nats_server: str) -> None:
    """With error 400, whatever of it is malformed."""
    async with raw.connected(nats_server) as client:
        for verb, body, told in (
            ("load", b"x", "JSON"),
            ("load", b'{"scale":"big"}', "scale"),
            ("unload", b"[]", "array"),
        ):
            answer, message = await raw.ask(client, f"models.{TINY}.adapters.{verb}", body, timeout=2)
            assert (message.headers or {})[headers.ERROR_CODE] == "400"
            assert told in answer["error"]["message"]


def test_a_wrong_adapter_in_the_env_file_keeps_a_worker_from_starting(nats_server: str, tmp_path: Path) -> None:
    """It says which file, and why."""
    worker = WorkerProcess(nats_server, tmp_path / "data", TINY, ADAPTERS=f"bad={MODEL}", **SMALL).start(wait=False)
    try:
        worker.wait_for("failed")
        state = worker.state()
        assert state is not None
        assert f"ADAPTERS: {MODEL}: not a LoRA adapter" in (state.problem or "")
    finally:
        worker.end()
