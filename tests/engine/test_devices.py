"""Which devices a model runs on: what is asked for, what llama.cpp says, and the way back to the CPU."""

import ctypes
from pathlib import Path
from typing import Any

import llama_cpp
import pytest

from golek_worker.engine import engine_factory
from golek_worker.engine.base import EngineConfig, EngineLoadError
from golek_worker.engine.llamacpp import devices
from golek_worker.engine.llamacpp.devices import Device, choose, placement
from golek_worker.engine.outlook import Outlook

MODEL = Path("data/models/golek-tiny/model.gguf")
TWO = [Device("CUDA0", "NVIDIA H100", 1), Device("CUDA1", "NVIDIA RTX A4000", 2)]


def config(path: Path = MODEL, **settings: Any) -> EngineConfig:
    return EngineConfig("llamacpp", str(path), 1, 256, 1, **settings)


def build(config: EngineConfig) -> Any:
    engine = engine_factory(config)(config, lambda done, total: None)
    engine.close()
    return engine.ready


def test_a_cpu_is_told_as_what_it_is() -> None:
    """Without a wish for a GPU a CPU is no problem; all layers are there."""
    ready = build(config())
    assert (ready.device, ready.offloaded_layers, ready.layers, ready.device_problem) == ("cpu", 0, 5, "")
    assert ready.placement == "5 layers on the CPU"


@pytest.mark.skipif(bool(devices.gpus()), reason="a GPU is here")
@pytest.mark.parametrize(
    ("wish", "asked"),
    [
        ({"gpu_layers": 99}, "GPU_LAYERS=99"),
        ({"gpu_devices": ["BANANA", "1"]}, "GPU_DEVICES=BANANA,1"),
        ({"main_gpu": 0}, "MAIN_GPU=0"),
    ],
)
def test_a_gpu_that_is_not_there_is_told(wish: dict[str, Any], asked: str) -> None:
    """The model serves from the CPU, and says that nothing could be put elsewhere, and why."""
    ready = build(config(**wish))
    assert (ready.device, ready.offloaded_layers) == ("cpu", 0)
    assert ready.device_problem.startswith(f"{asked}: this build of llama.cpp has no GPU support; `make build-llama`")


@pytest.mark.skipif(bool(devices.gpus()), reason="a GPU is here")
def test_a_required_gpu_that_is_not_there_is_an_error() -> None:
    """GPU_REQUIRED ends the load with the reason."""
    with pytest.raises(EngineLoadError, match=r"GPU_REQUIRED=true: this build of llama\.cpp has no GPU support"):
        build(config(gpu_required=True))


def test_what_is_free_is_asked_of_the_driver() -> None:
    """Of a real device, as ggml has it: the CPU is one, with some of the machine's memory left."""
    llama_cpp.llama_backend_init()
    count = devices._ggml("ggml_backend_dev_count", ctypes.c_size_t)()
    get = devices._ggml("ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
    free = [devices._free_bytes(get(number)) for number in range(count)]
    assert max(free) > 2**20


def test_what_will_come_of_the_settings_is_told_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a load would: a wrong name is a problem where there are others, a machine without any a remark."""
    monkeypatch.setattr(devices, "gpus", lambda: TWO)
    assert devices.outlook(config(gpu_devices=["1"])) == Outlook(list(map(str, TWO)), [0, 0])
    assert "no device BANANA here. There are 0: CUDA0" in devices.outlook(config(gpu_devices=["BANANA"])).problem
    monkeypatch.setattr(devices, "gpus", list)
    monkeypatch.setattr(devices, "why_none", lambda: devices.NO_SUPPORT)
    assert devices.outlook(config(gpu_layers=7)) == Outlook([], remark=f"GPU_LAYERS=7: {devices.NO_SUPPORT}")
    assert devices.outlook(config(gpu_required=True)).problems == [f"GPU_REQUIRED=true: {devices.NO_SUPPORT}"]


def test_a_build_for_gpus_without_a_device_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the driver is missing: another reason than no support, told though nobody asked for a GPU."""
    monkeypatch.setattr(devices, "gpus", list)
    monkeypatch.setattr(devices, "_text", lambda name, handle: "CUDA")
    ready = build(config())
    assert "built for CUDA, but finds no device" in ready.device_problem


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A machine with a GPU, on which llama.cpp loads no model; the layers that it was asked to put there."""
    asked: list[int] = []
    load = llama_cpp.llama_model_load_from_file

    def failing(path: bytes, params: Any) -> Any:
        asked.append(params.n_gpu_layers)
        return None if params.n_gpu_layers else load(path, params)

    monkeypatch.setattr(devices, "gpus", lambda: TWO[:1])
    monkeypatch.setattr(llama_cpp, "llama_model_load_from_file", failing)
    return asked


def test_a_gpu_that_fails_is_left_for_the_cpu(one_gpu: list[int]) -> None:
    """The model is loaded once more, without it, and says what failed."""
    ready = build(config())
    assert one_gpu == [-1, 0]
    assert ready.device == "cpu"
    assert ready.device_problem.startswith("not on CUDA0 (NVIDIA H100): ")
    assert "llama.cpp cannot load it" in ready.device_problem


def test_a_required_gpu_that_fails_is_an_error(one_gpu: list[int]) -> None:
    """Nothing is loaded on the CPU."""
    with pytest.raises(EngineLoadError, match=r"llama\.cpp cannot load it"):
        build(config(gpu_required=True))
    assert one_gpu == [-1]


@pytest.mark.usefixtures("one_gpu")
def test_a_file_that_loads_nowhere_has_its_own_reason(tmp_path: Path) -> None:
    """The GPU is not blamed for a damaged file."""
    damaged = tmp_path / "model.gguf"
    damaged.write_bytes(MODEL.read_bytes()[:1000])
    with pytest.raises(EngineLoadError, match="a damaged GGUF file"):
        build(config(damaged))


def test_devices_are_chosen_by_name_and_number() -> None:
    """In the order that is asked for, each once; a wrong one is told with those that are there."""
    assert choose(TWO, []) == TWO
    assert choose(TWO, ["1", "cuda0", "CUDA1"]) == [TWO[1], TWO[0]]
    with pytest.raises(EngineLoadError, match=r"no device CUDA2, 7 here\. There are 0: CUDA0") as caught:
        choose(TWO, ["CUDA2", "0", "7"])
    assert "1: CUDA1 (NVIDIA RTX A4000)" in str(caught.value)


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"main_gpu": 2}, "MAIN_GPU=2: the devices are 0 to 1: CUDA0"),
        ({"tensor_split": [1.0, 2.0, 3.0]}, "TENSOR_SPLIT has 3 shares for 2 devices: CUDA0"),
    ],
)
def test_shares_must_fit_the_devices(monkeypatch: pytest.MonkeyPatch, wish: dict[str, Any], told: str) -> None:
    """A number too many names the devices."""
    monkeypatch.setattr(devices, "gpus", lambda: TWO)
    with pytest.raises(EngineLoadError, match=told.replace("(", r"\(")):
        devices.ask(llama_cpp.llama_model_default_params(), config(**wish))


def test_what_is_asked_reaches_llama_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices in their order and ended by null, shares, the one GPU, layers."""
    monkeypatch.setattr(devices, "gpus", lambda: TWO)
    params = llama_cpp.llama_model_default_params()
    alive = devices.ask(params, config(gpu_layers=7, gpu_devices=["1", "0"], tensor_split=[3.0, 1.0]))
    handles = ctypes.cast(params.devices, ctypes.POINTER(ctypes.c_void_p))
    assert [handles[i] for i in range(3)] == [2, 1, None]
    assert [params.tensor_split[i] for i in range(3)] == [3.0, 1.0, 0.0]
    assert params.n_gpu_layers == 7
    alive = devices.ask(params, config(main_gpu=1))
    assert (params.main_gpu, params.split_mode) == (1, llama_cpp.LLAMA_SPLIT_MODE_NONE)
    del alive


def test_the_placement_is_what_llama_cpp_says() -> None:
    """Two GPUs and 30 of 31 layers; a GPU with no layer on it is none."""
    using = [
        "llama_prepare_model_devices: using device CUDA0 (NVIDIA H100 (PCIe)) (0000:01:00.0) - 80000 MiB free\n",
        "llama_prepare_model_devices: using device CUDA1 (NVIDIA RTX A4000) (unknown id) - 16000 MiB free\n",
    ]
    found = placement([*using, "load_tensors: offloaded 30/31 layers to GPU\n"])
    assert (found.offloaded, found.layers) == (30, 31)
    assert found.text == "CUDA0 (NVIDIA H100 (PCIe)), CUDA1 (NVIDIA RTX A4000)"
    assert placement([*using, "load_tensors: offloaded 0/31 layers to GPU\n"]).text == "cpu"
    assert placement([]).text == "cpu"
