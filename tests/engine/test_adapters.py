"""LoRA adapters in the llama.cpp engine, with adapters of random numbers for the shipped demo model."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from golek_wire.errors import AdapterNotFoundError
from golek_wire.requests import Params
from golek_worker.engine.adapters import AdapterBook
from golek_worker.engine.base import EngineConfig, Finished, LoadAdapter, Submit, UnloadAdapter
from golek_worker.engine.echo import EchoEngine
from golek_worker.engine.host import EngineHost
from golek_worker.engine.llamacpp.adapters import Adapter, Adapters, Turns
from golek_worker.engine.llamacpp.context import Context
from golek_worker.engine.llamacpp.engine import LlamaCppEngine
from golek_worker.engine.llamacpp.model import Model
from tests.engine.driver import children
from tests.support import adapters

MODEL = Path("data/models/golek-tiny/model.gguf")


class Bench:
    """A model, its context, and its adapters."""

    def __init__(self) -> None:
        self.model = Model(EngineConfig("llamacpp", str(MODEL), 1, 256, 1), lambda done, total: None)
        self.context = Context(self.model, 1, 256, 1, 16)
        self.adapters = Adapters(self.model, self.context.handle)

    def logits(self, adapter: Adapter | None) -> np.ndarray:
        """What follows a text, computed with `adapter`."""
        self.adapters.apply(adapter)
        tokens = self.model.tokenize("What is a lease?")[:16]
        size = len(tokens)
        self.context.decode(tokens, list(range(size)), [0] * size, [False] * (size - 1) + [True])
        self.context.forget(0)
        return np.ctypeslib.as_array(self.context.logits(size - 1), (self.model.n_vocab,)).copy()

    def take(self, name: str) -> Adapter | None:
        return self.adapters.take(self.adapters.find(name))

    def load(self, path: Path, name: str = "one", scale: float = 1.0) -> str | None:
        return self.adapters.change(LoadAdapter(name, str(path), scale)).problem


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two adapters, `1.gguf` and `2.gguf`."""
    folder = tmp_path_factory.mktemp("adapters")
    for seed in (1, 2):
        adapters.write(folder / f"{seed}.gguf", MODEL, seed)
    return folder


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.adapters.close()
    bench.context.close()
    bench.model.close()


def test_an_adapter_changes_what_is_computed_and_nothing_stays_of_it(bench: Bench, files: Path) -> None:
    """Base, one, two and one at half its scale differ; base again is base to the last bit."""
    base = bench.logits(None)
    for name, file, scale in (("one", "1.gguf", 1.0), ("two", "2.gguf", 1.0), ("half", "1.gguf", 0.5)):
        assert bench.load(files / file, name, scale) is None
    seen = [bench.logits(bench.take(name)) for name in ("one", "two", "half")]
    assert all(not np.array_equal(a, b) for i, a in enumerate([base, *seen]) for b in seen[i:])
    assert np.array_equal(bench.logits(None), base)
    assert np.array_equal(bench.logits(bench.take("one")), seen[0])


def test_what_is_in_use_is_used_to_its_end(bench: Bench, files: Path) -> None:
    """A replaced adapter computes on for who has it; who comes later gets the new one. Freed memory is never read."""
    bench.load(files / "1.gguf")
    old = bench.take("one")
    before = bench.logits(old)
    assert bench.load(files / "2.gguf") is None
    new = bench.take("one")
    assert not np.array_equal(bench.logits(new), before)
    assert np.array_equal(bench.logits(old), before)
    bench.adapters.give_back(old)
    after = bench.logits(new)
    assert bench.adapters.change(UnloadAdapter("one")).loaded == []
    assert np.array_equal(bench.logits(new), after)
    with pytest.raises(AdapterNotFoundError, match="none is loaded"):
        bench.take("one")
    bench.adapters.give_back(new)
    # llama.cpp may put this one where the freed one lay: it must not be taken for it.
    bench.load(files / "1.gguf")
    assert np.array_equal(bench.logits(bench.take("one")), before)


def test_an_unknown_name_is_told_with_those_that_are_there(bench: Bench, files: Path) -> None:
    """404 with the name and the loaded ones."""
    bench.load(files / "1.gguf", "alpha")
    bench.load(files / "2.gguf", "beta")
    with pytest.raises(AdapterNotFoundError, match="'gamma' is loaded; loaded are alpha, beta") as caught:
        bench.take("gamma")
    assert caught.value.details == {"param": "adapter", "loaded": ["alpha", "beta"]}
    assert bench.adapters.change(UnloadAdapter("gamma")).problem
    assert bench.adapters.names == ["alpha", "beta"]


def wrong_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that are no adapters of the demo model, and what is said of each."""
    good = folder / "1.gguf"
    cut = folder / "cut.gguf"
    cut.write_bytes(good.read_bytes()[:-2000])
    torn = folder / "torn.gguf"
    torn.write_bytes(good.read_bytes()[:300])
    text = folder / "text.gguf"
    text.write_text("not a model")
    nan = folder / "nan.gguf"
    content = good.read_bytes()
    nan.write_bytes(content[: len(content) // 2] + b"\xff" * (len(content) - len(content) // 2))
    return {
        "missing": (folder / "none.gguf", "No such file"),
        "folder": (folder, "Is a directory"),
        "text": (text, "not a GGUF file"),
        "torn": (torn, "damaged"),
        "cut": (cut, "file bounds"),
        "model": (MODEL, "not a LoRA adapter"),
        "architecture": (adapters.write(folder / "gemma.gguf", MODEL, 3, architecture="gemma3"), "for gemma3 models"),
        "shape": (adapters.write(folder / "wide.gguf", MODEL, 3, wider=8), "incorrect shape"),
        "numbers": (nan, "NaN"),
    }


def odd_matrices(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that llama.cpp would take, and end the process with at the first token; and what is said of each."""

    def pair(a: np.ndarray, b: np.ndarray, weight: str = "blk.0.attn_q") -> dict[str, np.ndarray]:
        return {f"{weight}.weight.lora_a": a, f"{weight}.weight.lora_b": b}

    one = np.float32(1)
    a, b = np.full((4, 192), one), np.full((192, 4), one)
    files = {
        "integers": (pair(a.astype(np.int32), b), "lora_a is of ggml's type 26"),
        "doubles": (pair(a, b.astype(np.float64)), "lora_b is of ggml's type 28"),
        "three dimensions": (pair(np.stack([a, a]), np.stack([b, b])), "192 x 4 x 2 is no matrix of 2 dimensions"),
        "ranks": (pair(a, np.full((192, 5), one)), "192 x 4 and 5 x 192 do not belong together"),
        "ranks of the table": (
            pair(np.full((1024, 4), one), np.full((192, 5), one), "token_embd"),
            "4 x 1024 and 5 x 192 do not belong together",
        ),
        "half": ({"blk.0.attn_q.weight.lora_a": a}, "blk.0.attn_q.weight has lora_a alone"),
        "nothing": ({}, "without matrices"),
    }
    return {
        what: (adapters.write_matrices(folder / f"{what}.gguf", matrices), told)
        for what, (matrices, told) in files.items()
    }


def test_a_wrong_file_is_told_and_changes_nothing(bench: Bench, files: Path, tmp_path: Path) -> None:
    """Missing, no GGUF, damaged, a model, for another model: the file and the cause; what was loaded stays."""
    shutil.copy(files / "1.gguf", tmp_path)
    bench.load(files / "1.gguf")
    before = bench.logits(bench.take("one"))
    for what, (path, told) in (wrong_files(tmp_path) | odd_matrices(tmp_path)).items():
        problem = bench.load(path) or ""
        assert str(path) in problem, what
        assert told in problem, (what, problem)
    assert bench.adapters.names == ["one"]
    assert np.array_equal(bench.logits(bench.take("one")), before)


def test_turns_are_taken_in_order() -> None:
    """Who has the turn keeps it for its time, then the one that waited longest has it; one alone always has it."""
    turns = Turns(turn_s=1.0)
    assert [turns.of(["a", "b"], now) for now in (0.0, 0.5, 1.0, 1.5, 2.0)] == ["a", "a", "b", "b", "a"]
    assert turns.of(["b", "c"], 2.1) == "b"
    assert [turns.of(["b", "c", "d"], now) for now in (3.2, 4.3, 5.4)] == ["c", "d", "b"]
    assert [turns.of(["b"], now) for now in (6.0, 9.0)] == ["b", "b"]


ADAPTED = ("", "one", "two")


def engine_of(files: Path, slots: int = 6) -> LlamaCppEngine:
    """An engine with both adapters loaded."""
    engine = LlamaCppEngine(EngineConfig("llamacpp", str(MODEL), slots, 512, 1), lambda done, total: None)
    for name, file in (("one", "1.gguf"), ("two", "2.gguf")):
        assert engine.change_adapter(LoadAdapter(name, str(files / file))).problem is None
    return engine


def question(i: int, adapter: str, max_tokens: int = 24) -> Submit:
    params = Params(max_tokens=max_tokens, temperature=0.7, ignore_eos=True)
    return Submit(
        f"{adapter or 'base'}-{i}", f"<|user|>What is a lease? {i}<|end|><|assistant|>", params, i, adapter=adapter
    )


def answers(engine: LlamaCppEngine, *jobs: Submit) -> dict[str, str]:
    """What the jobs write, run together."""
    for job in jobs:
        engine.submit(job)
    texts: dict[str, str] = {}
    while engine.running:
        for output in engine.step():
            assert isinstance(output, Finished), output
            texts[output.job_id] = output.text
    return texts


def test_requests_of_all_adapters_write_what_they_write_alone(files: Path) -> None:
    """Twelve requests, of two adapters and of none, in six slots: each text is that of an engine that saw no other
    adapter, also where the cache holds the same prompt as another adapter computed it; adapters matter.
    """
    alone: dict[str, str] = {}
    for adapter in ADAPTED:
        engine = engine_of(files)
        for i in range(4):
            alone |= answers(engine, question(i, adapter))
        engine.close()
    engine = engine_of(files)
    jobs = [question(i, adapter) for i in range(4) for adapter in ADAPTED]
    assert answers(engine, *jobs) == alone
    assert {job.job_id: answers(engine, job)[job.job_id] for job in jobs} == alone
    for i in range(4):
        assert len({alone[f"{adapter or 'base'}-{i}"] for adapter in ADAPTED}) == 3
    gauges = engine.gauges()
    assert gauges is not None
    assert gauges.kv_cells == 0
    engine.close()


def test_an_adapter_is_replaced_and_taken_away_while_it_writes(files: Path) -> None:
    """Who has the old one writes on with it, who comes after gets the new one, and then none."""
    engine = engine_of(files)
    alone = answers(engine, question(1, "one", 64)) | answers(engine, question(2, "two", 64))
    engine.submit(question(1, "one", 64))
    list(engine.step())
    assert engine.change_adapter(LoadAdapter("one", str(files / "2.gguf"))).problem is None
    engine.submit(msgspec.structs.replace(question(2, "one", 64), job_id="two-2"))
    list(engine.step())
    assert engine.change_adapter(UnloadAdapter("one")).loaded == ["two"]
    with pytest.raises(AdapterNotFoundError, match="'one' is loaded; loaded are two"):
        engine.submit(question(3, "one"))
    assert answers(engine) == alone
    engine.close()


def test_an_engine_that_takes_no_adapters_says_so() -> None:
    """The echo engine refuses requests with one, and to load one."""
    echo = EchoEngine(EngineConfig("echo", "", 1, 0, 0), lambda done, total: None)
    assert echo.change_adapter(LoadAdapter("one", "x")).problem == "this engine takes no adapters"
    with pytest.raises(AdapterNotFoundError, match=r"'one'.*the echo engine takes no adapters"):
        echo.submit(question(1, "one"))


async def test_adapters_come_again_with_the_engine(files: Path) -> None:
    """After a crash and after an unload the host has them loaded anew; what was changed meanwhile counts."""
    config = EngineConfig("llamacpp", str(MODEL), 1, 256, 1)
    changed = asyncio.Event()
    book = AdapterBook([LoadAdapter("one", str(files / "1.gguf"))])
    host = EngineHost(config, 10.0, changed.set, adapters=book)

    async def until(names: list[str]) -> None:
        while book.loaded != names or not host.serving:
            await asyncio.sleep(0.005)

    running = asyncio.create_task(host.run())
    async with asyncio.timeout(30):
        await until(["one"])
        assert (await host.change_adapter(LoadAdapter("two", str(files / "2.gguf")))).loaded == ["one", "two"]
        (child,) = children()
        child.kill()
        while book.loaded:
            await asyncio.sleep(0.005)
        await until(["one", "two"])
        await host.unload()
        assert book.loaded == []
        assert (await host.change_adapter(UnloadAdapter("one"))).loaded == ["two"]
        host.load()
        await until(["two"])
        await host.close()
        await running
