"""`golek worker check`: everything that is wrong at once."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from golek_wire.errors import ModelNotFoundError
from golek_worker import settings
from golek_worker.bus import embedded
from golek_worker.engine.base import EngineConfig
from golek_worker.engine.llamacpp import memory
from golek_worker.engine.outlook import Outlook
from golek_worker.local import LocalGolek
from golek_worker.machine import check, engine_check, runfile
from golek_worker.machine.runfile import RunState
from golek_worker.process import identify
from golek_worker.settings import made
from tests.support import adapters as lora
from tests.support.ports import free_port


@pytest.fixture
def url() -> str:
    """An address on this machine where nobody listens."""
    return f"nats://127.0.0.1:{free_port()}"


def deployment(folder: Path, **values: str) -> Path:
    file = folder / "worker.x.env"
    file.write_text("".join(f"{key}={value}\n" for key, value in values.items()))
    return file


async def test_a_deployment_that_can_run_has_no_problems(tmp_path: Path, url: str) -> None:
    """A missing local broker is none: it is started."""
    file = deployment(tmp_path, MODEL_NAME="x", ENGINE="echo", NATS_URL=url, GOLEK_DATA=str(tmp_path / "data"))
    assert await check.problems(file, {}) == []
    assert not (tmp_path / "data").exists()


async def test_everything_wrong_is_told_at_once(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Model, folders, address, package and broker, in one answer."""
    monkeypatch.setattr(embedded, "binary", lambda: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    (tmp_path / "data").write_text("a file")
    model = tmp_path / "model.gguf"
    model.write_bytes(b"PK\x03\x04")
    file = deployment(
        tmp_path,
        MODEL_NAME="x",
        MODEL_PATH=str(model),
        NATS_URL=url,
        HTTP_ADDR=":99999",
        GOLEK_DATA=str(tmp_path / "data"),
    )
    text = "\n".join(await check.problems(file, {}))
    for said in (
        "ENGINE=llamacpp: the package llama-cpp-python is missing",
        f"MODEL_PATH={model}: not a GGUF file; it begins with b'PK",
        "GOLEK_DATA: ",
        "is a file",
        "HTTP_ADDR=:99999: host:port, :port or port, from 1 to 65535",
        "nats-server is missing",
    ):
        assert said in text


def test_the_memory_of_a_model_is_told(tmp_path: Path) -> None:
    """By its file; where there is none, or none is needed, there is nothing to tell."""
    tiny = Path("data/models/golek-tiny/model.gguf")
    file = deployment(tmp_path, MODEL_NAME="x", MODEL_PATH=str(tiny), WORKER_CONCURRENCY="2", CTX_SIZE="512")
    (told,) = check.memory_note(settings.load(file, {}))
    assert told.startswith("memory: needs 1")
    assert "KV cache 3.0 for 2 slots of 512 tokens" in told
    for other in ({"MODEL_PATH": "/nowhere.gguf"}, {"ENGINE": "echo"}):
        assert check.memory_note(settings.load(deployment(tmp_path, MODEL_NAME="x", **other), {})) == []


async def test_what_the_engine_would_refuse_is_told(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it at once: tokens, memory and devices; with a worker that has the model its memory is not missed."""
    tiny = Path("data/models/golek-tiny/model.gguf")
    values = {"MODEL_NAME": "x", "MODEL_PATH": str(tiny), "NATS_URL": url, "GOLEK_DATA": str(tmp_path)}
    file = deployment(tmp_path, **values, CTX_SIZE="4096", GPU_DEVICES="BANANA", WORKER_CONCURRENCY="3")
    asked: list[EngineConfig] = []

    def ask(config: bytes) -> Outlook:
        asked.append(msgspec.json.decode(config, type=EngineConfig))
        return Outlook(problem="no device BANANA here")

    monkeypatch.setattr(engine_check, "_ask", ask)
    monkeypatch.setattr(memory, "free_bytes", lambda: 5_000_000)
    devices, tokens, needs = await check.problems(file, {})
    assert (devices, asked[0].gpu_devices) == ("no device BANANA here", ["BANANA"])
    assert tokens.startswith(f"CTX_SIZE=4096: {tiny} was trained with at most 2048 tokens. Set CTX_SIZE=2048, or 0")
    assert needs.startswith(f"{tiny}: needs ")
    assert "4.8 MiB are free: a smaller" in needs
    runs = RunState(worker_id="x-1", deployment="x", replica=1, model_name="x", **msgspec.structs.asdict(identify()))
    runfile.write(tmp_path, runs)
    assert await check.problems(file, {}) == [devices, tokens]


TINY = Path("data/models/golek-tiny/model.gguf")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"MODEL_PATH": TINY, "MMPROJ_PATH": "/nowhere.gguf"}, "MMPROJ_PATH=/nowhere.gguf: no such file. Set it to"),
        ({"MODEL_PATH": TINY, "MMPROJ_PATH": TINY}, f"MMPROJ_PATH={TINY}: no projector but a model (llama)"),
        ({"MODEL_PATH": TINY, "MMPROJ_PATH": "README.md"}, "MMPROJ_PATH=README.md: not a GGUF file; it begins"),
        ({"MODEL_PATH": TINY, "ENGINE": "litert"}, f"MODEL_PATH={TINY}: no TFLite file but GGUF; ENGINE=llamacpp runs"),
        ({"ENGINE": "openai", "SERVER_COMMAND": "nobody serve {model}"}, "there is no program nobody here"),
    ],
)
async def test_what_an_engine_cannot_use_is_told(
    tmp_path: Path, url: str, values: dict[str, object], said: str
) -> None:
    """Before anything is started: another engine's file, eyes that are none, a program that is not there."""
    given = {"MODEL_NAME": "x", "NATS_URL": url, "GOLEK_DATA": str(tmp_path)} | {k: str(v) for k, v in values.items()}
    (told,) = await check.problems(deployment(tmp_path, **given), {})
    assert said in told


async def test_a_tflite_file_names_its_engine(tmp_path: Path, url: str) -> None:
    """For an engine of GGUF files it is no damaged one; without a name the model is called as its folder."""
    file = tmp_path / "colours" / "model.tflite"
    file.parent.mkdir()
    file.write_bytes(b"\x18\0\0\0TFL3")
    values = {"MODEL_NAME": "x", "MODEL_PATH": str(file), "NATS_URL": url, "GOLEK_DATA": str(tmp_path)}
    (told,) = await check.problems(deployment(tmp_path, **values), {})
    assert told == f"MODEL_PATH={file}: no GGUF file but TFLite; ENGINE=litert runs it"
    assert made.named_by(str(file)) == "colours"
    with pytest.raises(ModelNotFoundError, match="ENGINE=litert runs it"):
        LocalGolek(model_path=file)


async def test_llama_cpp_is_asked_for_its_devices(tmp_path: Path, url: str) -> None:
    """In a process of its own, with what the settings say; whatever is here, nothing is called BANANA."""
    tiny = Path("data/models/golek-tiny/model.gguf").absolute()
    values = {"MODEL_NAME": "x", "MODEL_PATH": str(tiny), "NATS_URL": url, "GOLEK_DATA": str(tmp_path)}
    file = deployment(tmp_path, **values, GPU_DEVICES="BANANA")
    told = [*await check.problems(file, {}), *check.device_note(settings.load(file, {}))]
    assert len(told) == 1
    assert "BANANA" in told[0]


async def test_wrong_adapters_and_shares_are_one_line(tmp_path: Path, url: str) -> None:
    """And keep nothing else from being checked."""
    tiny = Path("data/models/golek-tiny/model.gguf").absolute()
    values = {"MODEL_NAME": "x", "MODEL_PATH": str(tiny), "NATS_URL": url, "GOLEK_DATA": str(tmp_path)}
    told = await check.problems(deployment(tmp_path, **values, ADAPTERS="xx", TENSOR_SPLIT="a"), {})
    assert told == [
        "TENSOR_SPLIT=a: numbers with commas, such as 2,1",
        "ADAPTERS=xx: 'xx' is no name=path or name=path@scale",
    ]


async def test_an_adapter_for_another_model_is_told(tmp_path: Path, url: str) -> None:
    """By the shapes of its matrices, before a start."""
    tiny = Path("data/models/golek-tiny/model.gguf").absolute()
    values = {"MODEL_NAME": "x", "MODEL_PATH": str(tiny), "NATS_URL": url, "GOLEK_DATA": str(tmp_path)}
    lora.write(tmp_path / "fits.gguf", tiny, 1)
    lora.write(tmp_path / "wide.gguf", tiny, 1, wider=8)
    matrices = {f"blk.9.attn_q.weight.lora_{side}": np.zeros((4, 4), np.float32) for side in "ab"}
    lora.write_matrices(tmp_path / "deep.gguf", matrices)
    named = ",".join(f"{name}={tmp_path}/{name}.gguf" for name in ("fits", "wide", "deep"))
    assert await check.problems(deployment(tmp_path, **values, ADAPTERS=named), {}) == [
        f"ADAPTERS: {tmp_path}/wide.gguf: blk.0.attn_q.weight.lora_a: 200 x 4 does not fit the model's 192 x 192",
        f"ADAPTERS: {tmp_path}/deep.gguf: blk.9.attn_q.weight: the model has no such tensor",
    ]


def test_a_subject_of_two_deployments_is_told(tmp_path: Path) -> None:
    """A copied env file with another MODEL_NAME and the same SUBJECT; replicas of one model are none."""
    file = deployment(tmp_path, MODEL_NAME="x", ENGINE="echo")
    (tmp_path / "worker.same.env").write_text("MODEL_NAME=x\nENGINE=echo\n")
    assert check.shared_subjects(file, {}) == []
    (tmp_path / "worker.y.env").write_text("MODEL_NAME=y\nENGINE=echo\nSUBJECT=inference.request.x\n")
    (told,) = check.shared_subjects(file, {})
    assert told.startswith(f"inference.request.x is also a subject of {tmp_path}/worker.y.env (MODEL_NAME=y)")


async def test_a_mistyped_deployment_is_guessed(tmp_path: Path) -> None:
    """The name that may have been meant; none when nothing is near."""
    (tmp_path / "worker.golek-tiny.env").touch()
    (wrong,) = await check.problems(tmp_path / "worker.golek-tin.env", {})
    assert "no such file; did you mean golek-tiny? `make list-workers`" in wrong
    (wrong,) = await check.problems(tmp_path / "worker.zzz.env", {})
    assert "no such file; `make list-workers`" in wrong


async def test_a_missing_model_and_a_broker_elsewhere(tmp_path: Path) -> None:
    """Each line names the key and its value."""
    file = deployment(
        tmp_path,
        MODEL_NAME="x",
        MODEL_PATH="none.gguf",
        NATS_URL="nats://broker.invalid:4222",
        GOLEK_DATA=str(tmp_path),
    )
    wrong = await check.problems(file, {})
    assert any(line.startswith("MODEL_PATH=none.gguf: no such file") for line in wrong)
    assert any(line.startswith("NATS_URL=nats://broker.invalid:4222: nobody answers there") for line in wrong)


@pytest.mark.parametrize(("kept", "said"), [(1000, "a damaged GGUF file"), (500_000, "a GGUF file cut off")])
async def test_a_file_whose_download_broke_off(tmp_path: Path, url: str, kept: int, said: str) -> None:
    """Told before an engine is started, wherever it ends."""
    model = tmp_path / "model.gguf"
    model.write_bytes(Path("data/models/golek-tiny/model.gguf").read_bytes()[:kept])
    file = deployment(tmp_path, MODEL_NAME="x", MODEL_PATH=str(model), NATS_URL=url, GOLEK_DATA=str(tmp_path))
    (wrong,) = await check.problems(file, {})
    assert wrong.startswith(f"MODEL_PATH={model}: {said}")


async def test_wrong_settings_do_not_hide_the_rest(tmp_path: Path) -> None:
    """What hangs on a wrong value is not guessed at; everything else is still checked."""
    (tmp_path / "data").write_text("a file")
    file = deployment(tmp_path, MODEL_NAME="x", ENGINE="none", NATS_URL="none", GOLEK_DATA=str(tmp_path / "data"))
    keys = [line.partition("=")[0].partition(":")[0] for line in await check.problems(file, {})]
    assert keys == ["ENGINE", "NATS_URL", "GOLEK_DATA"]


async def test_a_log_folder_that_is_a_file(tmp_path: Path, url: str) -> None:
    """Told before the start, which would make a log there."""
    boot = tmp_path / "logs" / "_boot"
    boot.parent.mkdir()
    boot.write_text("a file")
    file = deployment(tmp_path, MODEL_NAME="x", ENGINE="echo", NATS_URL=url, GOLEK_DATA=str(tmp_path))
    assert await check.problems(file, {}) == [f"GOLEK_DATA: {boot} cannot be a folder; {boot} is a file"]


async def test_each_wrong_line_of_the_key_file_is_told(tmp_path: Path, url: str) -> None:
    """In an open fleet as well; a file that is not there is no problem, for keys may come from elsewhere."""
    keys = tmp_path / "keys.txt"
    values = {"MODEL_NAME": "x", "ENGINE": "echo", "NATS_URL": url, "GOLEK_DATA": str(tmp_path / "data")}
    asked = deployment(tmp_path, **values, GOLEK_NATS_IDENTITY="keys", GOLEK_KEY_FILE=str(keys))
    assert await check.problems(asked, {}) == []
    keys.write_text("ann:k-1\nno colon\nbob:sha256:12\n")
    for file in (asked, deployment(tmp_path, **values, GOLEK_KEY_FILE=str(keys))):
        assert await check.problems(file, {}) == [
            f"{keys}:2: not of the form key_id:api_key",
            f"{keys}:3: after sha256: stand 64 hexadecimal digits",
        ]
    accounts = deployment(tmp_path, **values, GOLEK_NATS_IDENTITY="accounts", GOLEK_KEY_FILE=str(keys))
    assert await check.problems(accounts, {}) == []
    keys.write_text("ann:k-1 rmp=60\n")
    open_fleet = settings.load(deployment(tmp_path, **values, GOLEK_KEY_FILE=str(keys)), {})
    (remark,) = check.key_remarks(open_fleet)
    assert "keys.txt:1: nobody knows the field rmp" in remark


async def test_what_a_router_would_refuse_is_told(tmp_path: Path, url: str) -> None:
    """A mistake in its files by file and key; clouds that wait for their keys are only noted."""
    routes, clouds = tmp_path / "routes.yaml", tmp_path / "providers.yaml"
    routes.write_text("routes: {smart: {targets: ['mine:big'], policy: local_first}}")
    clouds.write_text("providers: {mine: {dialect: openai, base_url: 'https://a/v1', key_env: MINE_KEY}}")
    said = {"MODEL_NAME": "router", "ENGINE": "router", "NATS_URL": url, "GOLEK_DATA": str(tmp_path / "data")}
    file = deployment(tmp_path, **said, ROUTES_FILE=str(routes), PROVIDERS_FILE=str(clouds))
    assert await check.problems(file, {}) == []
    told = check.route_remarks(settings.load(file, {}), {})
    assert "mine is not set up: MINE_KEY is not set" in told
    assert any("mine:big cannot be asked: mine: MINE_KEY is not set" in one for one in told)
    routes.write_text("routes: {smart: {targets: []}}")
    assert f"{routes}: routes.smart.targets: at least one" in "".join(await check.problems(file, {}))
    clouds.write_text("providers: {mine: {dialect: morse}}")
    assert str(clouds) in "".join(await check.problems(file, {}))
