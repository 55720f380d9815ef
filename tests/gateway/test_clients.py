"""Other people's clients, as they come: LangChain, `llm`, and OpenAI's for Node."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai import DefaultHttpxClient
from pydantic import BaseModel

from tests.support.fronts import Fleet

MODEL = "golek-tiny"
NODE = Path(__file__).parent / "node"
NPM_S = 90


@tool
def get_weather(city: str) -> str:
    """Get the current weather of a city."""
    return f"sunny in {city}"


class Colour(BaseModel):
    """A colour."""

    name: Literal["red", "green", "blue"]
    warm: bool


@pytest.fixture
def chat(fleet: Fleet) -> Iterator[ChatOpenAI]:
    with DefaultHttpxClient() as http:  # LangChain closes none of its own
        yield ChatOpenAI(
            base_url=f"{fleet.gateway}/v1", api_key="none", model=MODEL, temperature=0, max_tokens=120,
            stream_usage=True, http_client=http,
        )  # fmt: skip


def test_langchain_asks_and_streams(chat: ChatOpenAI) -> None:
    """What it joins of a stream is the whole answer, and it knows what both cost."""
    whole = chat.invoke("What is a lease?")
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] > 0
    assert whole.response_metadata["finish_reason"] == "stop"
    joined = None
    for chunk in chat.stream("What is a lease?"):
        assert isinstance(chunk, AIMessageChunk)
        joined = chunk if joined is None else joined + chunk
    assert joined is not None
    assert joined.content == whole.content
    assert joined.usage_metadata is not None
    assert joined.usage_metadata["output_tokens"] == whole.usage_metadata["output_tokens"]


@pytest.mark.parametrize("streamed", [False, True])
def test_langchain_calls_tools(chat: ChatOpenAI, streamed: bool) -> None:
    """A round trip: the call it reads, the result it sends, the answer."""
    bound = chat.bind_tools([get_weather])
    question = HumanMessage("What is the weather in Paris?")
    called: Any = bound.invoke([question])
    if streamed:
        first, *rest = bound.stream([question])
        called = sum(rest, first)  # type: ignore[arg-type]
    (call,) = called.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})
    result = ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])
    assert str(bound.invoke([question, called, result]).content).startswith("The tool says:")


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_langchain_gets_objects(chat: ChatOpenAI, method: Any) -> None:
    """By a schema, and by a tool that must be called."""
    assert isinstance(chat.with_structured_output(Colour, method=method).invoke("Name a colour."), Colour)


def test_langchain_embeds(fleet: Fleet, embedder: str) -> None:
    """With the setting that a refusal of token numbers names."""
    with DefaultHttpxClient() as http:
        vectors = OpenAIEmbeddings(
            base_url=f"{fleet.gateway}/v1", api_key="none", model=embedder, check_embedding_ctx_length=False,
            http_client=http,
        ).embed_documents(["a river", "a lease"])  # fmt: skip
    assert [len(vector) for vector in vectors] == [384, 384]


def test_llm_at_the_command_line(fleet: Fleet, tmp_path: Path) -> None:
    """As its manual says: a model in `extra-openai-models.yaml`."""
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: tiny\n  model_name: {MODEL}\n  api_base: {fleet.gateway}/v1\n  api_key_name: golek\n"
    )
    command = Path(sys.executable).parent / "llm"
    environment = os.environ | {"LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "none"}
    for options in ([], ["--no-stream"]):
        line = [str(command), "-m", "tiny", "-o", "temperature", "0", *options, "--key", "none", "What is a lease?"]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=50, check=False)
        assert (done.returncode, "job" in done.stdout) == (0, True), done.stderr


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """A folder with `openai` for Node, installed once a machine; skips where there is no Node or no registry."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no node and npm on PATH")
    lock = json.loads((NODE / "package.json").read_text())
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "golek-tests" / lock["version"]
    if not (folder / "node_modules" / "openai" / "package.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(NODE / "package.json", folder)
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=NPM_S)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"npm cannot install openai here: {error}")
    return folder


@pytest.mark.timeout(150)
def test_openai_for_node(fleet: Fleet, node_modules: Path) -> None:
    """Asks, streams, calls a tool and is refused."""
    script = node_modules / "ask.mjs"
    shutil.copy(NODE / "ask.mjs", script)
    done = subprocess.run(
        ["node", str(script), f"{fleet.gateway}/v1", MODEL], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["streamed"] == said["whole"] != ""
    assert said["helper"] == said["whole"]
    assert said["call"] == {"name": "get_weather", "arguments": {"city": "Paris"}}
    assert said["usage"] > 0
    assert said["refused"] == {"status": 404, "code": "MODEL_NOT_FOUND"}
    assert said["models"] is True
