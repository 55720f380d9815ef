"""Prompt formats as a caller meets them: real nats-server, real worker process, the echo engine and the demo model."""

from pathlib import Path

import pytest

from golek_client import BadRequestError, Golek
from golek_wire.replies import FunctionCall
from tests.support import raw
from tests.support.workers import WorkerProcess

REQUEST = "inference.request.echo"
QUOTED = (
    "hi<|end|><|start|>assistant<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>"
)
GEMMA = "data/models/gemma3-270m/prompt_template.json"


async def test_a_harmony_worker_answers_with_the_final_channel(nats_server: str, tmp_path: Path) -> None:
    """Whole and as a stream; a raw prompt's answer is shown with all its control tokens."""
    with WorkerProcess(nats_server, tmp_path, MODEL_FORMAT="harmony"):
        async with raw.connected(nats_server) as client:
            reply, _ = await raw.ask(client, REQUEST, {"input": QUOTED + "It is warm."})
            assert reply["text"] == "It is warm."
            streamed = await raw.stream(client, REQUEST, {"input": QUOTED + "It is warm."})
            await streamed.rest()
            assert streamed.joined() == streamed.final["text"] == "It is warm."
            reply, _ = await raw.ask(client, REQUEST, {"input": QUOTED + "x", "raw": True})
            assert reply["text"] == QUOTED + "x"
            health, _ = await raw.ask(client, "models.echo.health", {})
    assert health["capabilities"] == ["text-generation", "reasoning", "tool-calling"]


CALL = QUOTED.replace(
    "final<|message|>", 'commentary to=functions.look <|constrain|>json<|message|>{"x": "a b"}<|call|>'
)


async def test_thoughts_and_calls_reach_the_caller_apart_from_the_text(nats_server: str, tmp_path: Path) -> None:
    """Streamed and not, the same; a call's id too is the same, for it is made of the job's."""
    tools = [{"type": "function", "function": {"name": "look"}}]
    with WorkerProcess(nats_server, tmp_path, MODEL_FORMAT="harmony"):
        async with Golek(nats_server) as golek:
            thought = await golek.ask("echo", QUOTED + "It is warm.")
            assert (thought.text, thought.finish_reason) == ("It is warm.", "stop")
            assert (thought.reasoning_content or "").endswith("hm")
            called = await golek.ask("echo", CALL, tools=tools)
            assert (called.text, called.finish_reason) == ("", "tool_calls")
            assert [call.function for call in called.tool_calls or ()] == [FunctionCall("look", '{"x": "a b"}')]
            async with golek.stream("echo", CALL, tools=tools) as stream:
                pieces = [piece async for piece in stream.pieces()]
            assert "".join(piece.reasoning_content for piece in pieces) == stream.reply.reasoning_content
            heads = [call for piece in pieces for call in piece.tool_calls or () if call.id]
            (whole,) = stream.reply.tool_calls or ()
            assert [(call.id, call.name) for call in heads] == [(whole.id, "look")]
            arguments = "".join(call.arguments for piece in pieces for call in piece.tool_calls or ())
            assert arguments == whole.function.arguments == '{"x": "a b"}'
            with pytest.raises(BadRequestError, match="tool_choice"):
                await golek.ask("echo", "hi", tool_choice="required")


async def test_with_extraction_off_everything_is_passed_on(nats_server: str, tmp_path: Path) -> None:
    """HARMONY_EXTRACT_FINAL=false: the caller sees what the model wrote; here that is the prompt itself."""
    settings = {"MODEL_FORMAT": "harmony", "HARMONY_EXTRACT_FINAL": "false", "HARMONY_MODEL_IDENTITY": "Golek"}
    with WorkerProcess(nats_server, tmp_path, **settings):
        async with raw.connected(nats_server) as client:
            reply, _ = await raw.ask(client, REQUEST, {"input": "hi"})
    assert reply["text"].startswith("<|start|>system<|message|>You are Golek.\n")
    assert reply["text"].endswith("<|start|>user<|message|>hi<|end|><|start|>assistant")


async def test_a_named_prompt_template_makes_the_prompt(nats_server: str, tmp_path: Path) -> None:
    """Its markers stand around the turns, and the beginning of a user's turn ends an answer."""
    with WorkerProcess(nats_server, tmp_path, PROMPT_TEMPLATE=GEMMA):
        async with raw.connected(nats_server) as client:
            # The echo begins with the user's turn, where the stop string of this template ends it.
            reply, _ = await raw.ask(client, REQUEST, {"input": "hi"})
            assert (reply["text"], reply["finish_reason"]) == ("", "stop")
            reply, _ = await raw.ask(client, REQUEST, {"input": "hi", "params": {"ignore_eos": True, "max_tokens": 3}})
            assert reply["text"].startswith("<start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\n")
            reply, _ = await raw.ask(client, REQUEST, {"input": "hi", "raw": True})
            assert reply["text"] == "hi"
            messages = [{"role": "user", "content": "hi"}]
            tools = [{"type": "function", "function": {"name": "find"}}]
            reply, message = await raw.ask(client, REQUEST, {"messages": messages, "tools": tools})
            assert message.headers["Nats-Service-Error-Code"] == "400"
            assert "shows no tools" in reply["error"]["message"]


async def test_a_raw_worker_takes_no_messages(nats_server: str, tmp_path: Path) -> None:
    """MODEL_FORMAT=raw is named in the refusal."""
    with WorkerProcess(nats_server, tmp_path, MODEL_FORMAT="raw"):
        async with raw.connected(nats_server) as client:
            reply, _ = await raw.ask(client, REQUEST, {"input": "  as it is\n"})
            assert reply["text"] == "  as it is\n"
            reply, _ = await raw.ask(client, REQUEST, {"messages": [{"role": "user", "content": "hi"}]})
            assert "MODEL_FORMAT=raw" in reply["error"]["message"]
            health, _ = await raw.ask(client, "models.echo.health", {})
    assert health["capabilities"] == ["text-generation"]


@pytest.mark.parametrize(("model_format", "tools"), [("template", True), ("raw", False)])
async def test_health_tells_what_the_format_can_express(
    nats_server: str, tmp_path: Path, model_format: str, tools: bool
) -> None:
    """The demo model offers tools through its template, and none when the template is not used."""
    settings = {"MODEL_PATH": "data/models/golek-tiny/model.gguf", "MODEL_FORMAT": model_format}
    with WorkerProcess(nats_server, tmp_path, "golek-tiny", **settings):
        async with raw.connected(nats_server) as client:
            health, _ = await raw.ask(client, "models.golek-tiny.health", {})
    expected = ["text-generation", "tool-calling", "grammar-constrained"]
    assert health["capabilities"] == [name for name in expected if tools or name != "tool-calling"]


def test_a_wrong_prompt_template_keeps_the_worker_from_starting(nats_server: str, tmp_path: Path) -> None:
    """The problem names the setting, the file and the key."""
    file = tmp_path / "mine.json"
    file.write_text('{"name": "x", "user_prefx": ""}')
    problem = WorkerProcess(nats_server, tmp_path / "data", PROMPT_TEMPLATE=file).start_failing()
    assert f"PROMPT_TEMPLATE={file}: " in problem
    assert "user_prefix" in problem
