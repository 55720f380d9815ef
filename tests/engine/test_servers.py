"""Servers as engines: what is theirs alone. Ollama and TensorRT-LLM are played (tests/support/played_servers.py)."""

import asyncio
import contextlib

import pytest

from golek_wire.errors import ProviderFailedError
from golek_wire.requests import InferenceRequest, Params
from golek_worker.engine.base import Constraint, EngineConfig, LoadFailed, Ready, Refused, Submit
from golek_worker.engine.names import EngineName
from golek_worker.engine.outside import ServerConfig
from golek_worker.engine.server.site import SILENT, Site
from tests.engine.driver import Child, running
from tests.support.played_servers import WORDS, PlayedServer, playing

GBNF = Constraint("gbnf", 'root ::= "a"', "params.grammar")


def config(engine: EngineName, url: str, model: str = "played:1b", key: str = "") -> EngineConfig:
    return EngineConfig(engine, "", 4, 0, 0, server=ServerConfig(url=url, model=model, key=key))


def chat(job_id: str, *, constraint: Constraint | None = None, raw: bool = False, **params: object) -> Submit:
    values = Params(**params)  # type: ignore[arg-type]
    asked = InferenceRequest(input="What is it?", raw=raw, params=values)
    return Submit(job_id, "", values, 7, True, constraint=constraint, asked=asked)


def failure(engine: EngineName, url: str, model: str = "", key: str = "") -> str:
    """Why it cannot be loaded."""
    child = Child(config(engine, url, model, key))
    try:
        return child.until_a(LoadFailed).message
    finally:
        child.close()


@pytest.mark.parametrize(("engine", "owner"), [("ollama", "library"), ("trtllm", "tensorrt_llm"), ("openai", "nobody")])
def test_a_chat_is_written(engine: EngineName, owner: str) -> None:
    """By its model's name, with the seed; text, tokens and end are the server's."""
    played = PlayedServer(owner)
    with playing(played) as url, running(config(engine, url)) as child:
        child.send(chat("a", temperature=0.5))
        child.until_ended("a")
        end = child.finished("a")
        assert (end.text, end.finish_reason, end.tokens_in, end.tokens_out) == ("".join(WORDS), "stop", 5, 3)
        assert [text for _, text in child.streamed("a")] == list(WORDS)
    (body,) = [body for path, body in played.asked if path == "/v1/chat/completions"]
    assert (body["model"], body["seed"], body["temperature"]) == ("played:1b", 7, 0.5)
    assert body["top_p"] == Params().top_p  # the fleet's, whatever the server's own is
    assert ("top_k" in body) == (engine == "trtllm")
    assert body["messages"] == [{"role": "user", "content": "What is it?"}]


def test_ollama_tells_of_its_model() -> None:
    """The context that it was loaded with, not the one that it was trained with, and what it can."""
    with playing(PlayedServer("library")) as url, running(config("ollama", url)) as child:
        (ready,) = [event for event in child.events if isinstance(event, Ready)]
    assert (ready.ctx_size, ready.info.architecture, ready.info.quantization) == (4096, "qwen3", "Q4_K_M")
    assert ready.capabilities == ["text-generation", "grammar-constrained", "tool-calling", "reasoning"]
    assert ready.info.modalities == ["text"]


@pytest.mark.parametrize(
    ("command", "param"),
    [
        (chat("a", constraint=GBNF), "params.grammar"),
        (chat("a", raw=True), "raw"),
        (chat("a", max_tokens=0), "params.max_tokens"),
    ],
)
def test_what_a_server_cannot_is_refused_by_name(command: Submit, param: str) -> None:
    """Before it is asked: it would answer as if nobody had wished for it."""
    played = PlayedServer("library")
    with playing(played) as url, running(config("ollama", url)) as child:
        child.send(command)
        child.until_ended("a")
        refused = child.end_of("a")
        assert isinstance(refused, Refused)
        assert (refused.code, refused.details["param"]) == ("BAD_REQUEST", param)
    assert [path for path, _ in played.asked if path.startswith("/v1/")] == []


def test_a_busy_server_is_asked_again() -> None:
    """Nobody hears of it."""
    played = PlayedServer("nobody")
    played.refusals = [(503, {"error": {"message": "busy"}}), (429, {"error": {"message": "slow down"}})]
    with playing(played) as url, running(config("openai", url)) as child:
        child.send(chat("a"))
        child.until_ended("a")
        end = child.finished("a")
        assert end.text == "".join(WORDS)
        assert end.waited_ms > 100


def test_a_busy_server_is_asked_again_how_long_a_prompt_is() -> None:
    """As for the text itself."""
    played = PlayedServer("vllm")
    played.refusals = [(503, {"error": {"message": "busy"}})]
    with playing(played) as url, running(config("openai", url)) as child:
        child.send(chat("a", max_tokens=0))
        child.until_ended("a")
        assert (child.finished("a").tokens_in, child.finished("a").text) == (5, "")


async def test_a_server_that_is_silent_is_not_gone() -> None:
    """It may be busy, and is told from one that takes no connections."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            await reader.read()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        site = Site("openai", f"http://127.0.0.1:{port}", "")
        with pytest.raises(ProviderFailedError) as raised:
            await site.asked("GET", "/health", patience_s=0.1)
        assert raised.value.details[SILENT]
        await site.close()
    trouble = await site.trouble("/health")
    assert trouble is not None
    assert SILENT not in trouble.details
    await site.close()


def test_a_failure_of_a_server_that_is_well_is_told() -> None:
    """As one that may pass; the engine lives on."""
    played = PlayedServer("nobody")
    played.refusals = [(500, {"error": {"message": "out of luck"}})]
    with playing(played) as url, running(config("openai", url)) as child:
        child.send(chat("a"))
        child.until_ended("a")
        refused = child.end_of("a")
        assert isinstance(refused, Refused)
        assert refused.code == "ENGINE_FAILED"
        assert "out of luck" in refused.message
        child.send(chat("b"))
        child.until_ended("b")
        assert child.finished("b").text == "".join(WORDS)


def test_a_model_that_is_not_there_is_said() -> None:
    """With what to do."""
    with playing(PlayedServer("library")) as url:
        assert "`ollama pull other`" in failure("ollama", url, "other")
        assert "played:1b" in failure("ollama", url)
        assert "SERVER_MODEL=other" in failure("openai", url, "other")
    with playing(PlayedServer("nobody", models=("one", "two"))) as url:
        assert "it has one, two" in failure("openai", url)


def test_a_wrong_key_is_said() -> None:
    """By the setting's name, and without the key."""
    with playing(PlayedServer("nobody", key="right")) as url:
        said = failure("openai", url, key="wrong-key-1")
    assert "SERVER_KEY" in said
    assert "wrong-key-1" not in said


def test_a_program_that_is_missing_is_said() -> None:
    """With what to do."""
    child = Child(EngineConfig("openai", "", 1, 0, 0, server=ServerConfig(command=["no-such-server"])))
    try:
        said = child.until_a(LoadFailed).message
    finally:
        child.close()
    assert "no-such-server" in said
    assert "SERVER_COMMAND" in said


@pytest.mark.parametrize(("end", "told"), [("exit 3", "exit status 3"), ("exit 255", "255"), ("kill -9 $$", "SIGKILL")])
def test_a_server_that_ends_while_it_loads_is_said(end: str, told: str) -> None:
    """With its last words."""
    command = ["sh", "-c", f"echo cannot load this >&2; {end}"]
    child = Child(EngineConfig("openai", "", 1, 0, 0, server=ServerConfig(command=command)))
    try:
        said = child.until_a(LoadFailed).message
    finally:
        child.close()
    assert told in said
    assert "cannot load this" in said
