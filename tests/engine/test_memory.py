"""The estimate of a model's memory, beside what llama.cpp allots, and what becomes of a model that does not fit."""

import re
from pathlib import Path

import llama_cpp
import psutil
import pytest

from golek_worker.engine.base import EngineConfig, Exit, LoadFailed, Ready
from golek_worker.engine.llamacpp import log, memory
from golek_worker.engine.llamacpp.scheduler import READ_BATCH
from golek_worker.gguf import Header, read_header
from tests.engine.driver import Child
from tests.support import minilm

TINY = Path(__file__).resolve().parents[2] / "data/models/golek-tiny/model.gguf"
ALLOTTED = re.compile(r"buffer size = +([\d.]+) MiB")
MIB = 2**20


def of_engine(config: EngineConfig) -> tuple[float, float]:
    """MiB that an engine takes: by the estimate for batches as large as it makes them, and by llama.cpp's word."""
    child = Child(config)
    try:
        child.until_a(Ready)
        child.send(Exit())
        child.wait()
        said = child.stderr()
    finally:
        child.close()
    path = Path(config.model_path)
    header = read_header(path)
    weights = memory.weight_bytes(path, header)
    shape = memory.shape_of(config.kind, config.slots, config.ctx_size, config.threads, header, weights)
    shape = shape._replace(rows=max(map(int, re.findall(r"n_ubatch += (\d+)", said))))
    return memory.needs(header, weights, shape).total / MIB, sum(map(float, ALLOTTED.findall(said)))


def quantised(folder: Path) -> Path:
    """golek-tiny with weights of 8 bits."""
    log.install()
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0
    path = folder / "q8_0.gguf"
    assert llama_cpp.llama_model_quantize(str(TINY).encode(), str(path).encode(), params) == 0
    return path


@pytest.mark.parametrize(("weights", "slots", "ctx_size"), [("f16", 8, 2048), ("q8_0", 4, 1024), ("q8_0", 2, 2048)])
def test_the_estimate_is_what_llama_cpp_allots(tmp_path: Path, weights: str, slots: int, ctx_size: int) -> None:
    """With weights of 16 bits and of 8, to 15 %, and for batches as large as they are."""
    assert memory.ROWS == READ_BATCH
    path = TINY if weights == "f16" else quantised(tmp_path)
    config = EngineConfig("llamacpp", str(path), slots, ctx_size, 1)
    estimated, allotted = of_engine(config)
    assert estimated == pytest.approx(allotted, rel=0.15)


def test_the_estimate_of_a_model_that_makes_vectors() -> None:
    """It has no cache, and a context for all threads and one for each."""
    config = EngineConfig("llamacpp", str(minilm.model_file()), 4, 0, 2, kind="embedding")
    estimated, allotted = of_engine(config)
    assert estimated == pytest.approx(allotted, rel=0.15)


def test_what_does_not_fit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """The refusal comes at once, and says what is needed, what is free and what to do."""
    path = tmp_path / "model.gguf"
    path.write_bytes(TINY.read_bytes())
    with path.open("ab") as file:
        file.truncate(psutil.virtual_memory().total + 2**32)  # a file of holes
    child = Child(EngineConfig("llamacpp", str(path), 4, 1024, 1))
    failed = child.until_a(LoadFailed)
    child.close()
    assert str(path) in failed.message
    said = (
        r"needs \d+\.\d GiB \(weights \d+\.\d, KV cache 0.0 for 4 slots of 1024 tokens, compute 0.0\), \d+\.\d GiB are"
    )
    assert re.search(said, failed.message)
    assert failed.message.endswith("free: a smaller quantisation or model would fit")


@pytest.mark.parametrize(
    ("free", "told"),
    [
        (60, None),
        (40, "CTX_SIZE=1280, WORKER_CONCURRENCY=4 or a smaller quantisation would fit"),
        (17, "CTX_SIZE=256, WORKER_CONCURRENCY=1 or a smaller quantisation would fit"),
        (5, "a smaller quantisation or model would fit"),
    ],
)
def test_a_refusal_names_what_would_fit(monkeypatch: pytest.MonkeyPatch, free: int, told: str | None) -> None:
    """The largest context with these slots, and the most slots with this context."""
    monkeypatch.setattr(memory, "free_bytes", lambda: free * MIB)
    config = EngineConfig("llamacpp", str(TINY), 8, 2048, 1)
    problem = memory.problem(config, read_header(TINY), TINY, on_gpu=False)
    assert problem is None if told is None else problem is not None
    assert told is None or (problem or "").endswith(told), problem


def test_what_lies_on_a_gpu_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all layers there nothing but buffers is left here; with two of five, three fifths."""
    monkeypatch.setattr(memory, "free_bytes", lambda: 40 * MIB)
    header = read_header(TINY)
    for layers, fits in ((-1, True), (2, True), (1, False), (0, False)):
        config = EngineConfig("llamacpp", str(TINY), 8, 2048, 1, gpu_layers=layers)
        assert (memory.problem(config, header, TINY, on_gpu=True) is None) == fits


def of(**keys: object) -> Header:
    """The header of a model with these keys of its architecture."""
    usual = {"embedding_length": 1024, "block_count": 4, "attention.head_count": 8, "feed_forward_length": 2048}
    metadata = {"general.architecture": "x", "general.file_type": 1}
    metadata |= {f"x.{key.replace('__', '.')}": value for key, value in (usual | keys).items()}
    return Header(metadata, 0, 1000)


@pytest.mark.parametrize(
    ("header", "cache"),
    [
        (of(), 4 * 8 * 256 * 2),
        (of(attention__head_count_kv=2), 4 * 2 * 256 * 2),
        (of(attention__head_count_kv=[2, 0, 2, 0]), 2 * 2 * 256 * 2),
        (of(attention__key_length=64, attention__value_length=32), 4 * 8 * 96 * 2),
        (of(full_attention_interval=4), 8 * 256 * 2),
        (of(attention__kv_lora_rank=512, attention__key_length_mla=192, attention__key_length=576,
            attention__value_length=512, attention__head_count_kv=1), 4 * 576 * 2),
    ],
)  # fmt: skip
def test_the_cache_of_other_architectures(header: Header, cache: int) -> None:
    """Grouped heads, layers without a cache, lengths of their own, MLA."""
    shape = memory.Shape("inference", 2, 1024, 512)
    assert memory.needs(header, 0, shape).cache == cache * 1024 * 2


def test_the_state_of_recurrent_layers() -> None:
    """A convolution and a state for each slot, of 32-bit numbers, whatever the context."""
    header = of(attention__head_count=0, ssm__conv_kernel=4, ssm__inner_size=2048, ssm__state_size=16)
    found = memory.needs(header, 0, memory.Shape("inference", 3, 4096, 512))
    assert found.cache == 3 * 4 * 4 * (3 * 2048 + 2048 * 16)
