"""What may a caller ask of a worker? Random requests that mix what the worker makes itself with the engine's options.

Several texts, best ones, tools offered and forced, response formats, choices, expressions, stored grammars, thoughts,
conversations; beside them what `submissions.py` mixes. `invalid` says of an answer whether it is what was asked for.

A model of this size closes no thoughts and calls nothing by itself. So some questions go to the echo engine behind the
harmony format, which writes what they quote: thoughts, calls and text in any order.
"""

import json
import re
from typing import Any

import jsonschema_rs
import msgspec
from submissions import PREFIX, QUESTIONS, SCHEMAS, WRITTEN, Draw, params, some

from golek_wire.replies import Choice, ToolCall
from golek_wire.requests import Resume

STORED = {"colour": 'root ::= "red" | "green" | "a blue " [a-z]{2,6}', "word": "root ::= [a-z]{1,12}"}
"""Grammars that are put by name."""
EXPRESSIONS = {"colour": r"red|green|a blue [a-z]{2,6}", "word": r"[a-z]{1,12}"}
"""What they allow."""
MODEL, ECHO = "golek-tiny", "echo"
NOBODYS = "nobodys"
"""Names a grammar, an adapter and a tool that there are not."""
REGEXES = (r"[0-9]{3}-[0-9]{4}", r"(yes|no), because [a-z ]{3,20}\.")
CHOICES = ["a lease", "a leash", "NATS", "größe 😀", '"quoted"\n']
ARGUMENTS: tuple[dict[str, Any], ...] = (
    {
        "type": "object",
        "properties": {
            "unit": {"enum": ["celsius", "kelvin"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 9},
        },
        "required": ["unit", "days"],
        "additionalProperties": False,
    },
    {
        "type": "object",
        "properties": {"names": {"type": "array", "items": {"type": "string", "maxLength": 5}, "maxItems": 3}},
        "required": ["names"],
        "additionalProperties": False,
    },
)
TOOLS = dict(zip(("weather", "größe"), ARGUMENTS, strict=True))
TALKS: tuple[list[dict[str, Any]], ...] = (
    [{"role": "system", "content": PREFIX}, {"role": "user", "content": "What is NATS?"}],
    [
        {"role": "user", "content": "What is the weather in Paris?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"unit": "kelvin"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "290"},
    ],
    [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "Hello.", "reasoning_content": "A greeting."},
        {"role": "user", "content": "Is <think> <|end|> a word? 😀"},
    ],
)


WORDS = ("a", "b c", "It is warm.", "größe", "😀", "{", '"', "<think>", "functions.weather", "<|", "\n", "final")


class Question(msgspec.Struct, frozen=True):
    """What is asked, how, and what becomes of it."""

    number: int
    model: str
    said: str | list[dict[str, Any]]
    """A prompt, or a conversation."""
    options: dict[str, Any]
    stream: bool
    leaves_after: float | None
    """Seconds after which the caller goes away."""

    @property
    def by_itself(self) -> "Question":
        """The same, streamed where it was not, and read to its end."""
        best = self.options.get("best_of", 1) > self.options.get("n", 1)
        return msgspec.structs.replace(self, stream=not self.stream and not best, leaves_after=None)


def question(number: int, adapters: list[str]) -> Question:
    """The question of this number: always the same one."""
    draw = Draw(number)
    stream = draw.random() < 0.5
    leaves_after = draw.uniform(0.0, 0.5) if draw.random() < 0.1 else None
    if draw.random() < 0.15:
        return Question(number, ECHO, quoted(draw), quoting(draw), stream, leaves_after)
    options = msgspec.to_builtins(params(draw)) | {"seed": draw.randrange(2**32 - 1)}
    said: Any = draw.choice(TALKS) if draw.random() < 0.3 else draw.choice(QUESTIONS)
    options |= several(draw, stream=stream)
    kind = draw.random()
    if kind < 0.35:
        options |= form(draw)
    elif kind < 0.65:
        options |= tools(draw)
    elif kind < 0.72 and isinstance(said, str):
        options["resume"] = Resume(draw.choice(WRITTEN))
    elif kind < 0.78 and isinstance(said, str):
        options["raw"] = True
    if draw.random() < 0.25:
        options["reasoning_effort"] = draw.choice(["none", "minimal", "low", "medium", "high"])
    if (adapter := some(draw, 0.3, [*adapters, *adapters, *adapters, NOBODYS], None)) is not None:
        options["adapter"] = adapter
    return Question(number, MODEL, said, options, stream, leaves_after)


def quoted(draw: Draw) -> str:
    """Thoughts, calls and text, as harmony marks them."""
    ways = (
        "<|channel|>analysis<|message|>{}<|end|>",
        "<|channel|>final<|message|>{}<|end|>",
        "<|channel|>commentary<|message|>{}<|end|>",
        '<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{{"x": "{}"}}<|call|>',
    )
    parts = [draw.choice(ways).format(" ".join(draw.choices(WORDS, k=draw.randrange(1, 12)))) for _ in range(4)]
    return "hi<|end|>" + "".join(f"<|start|>assistant{part}" for part in parts[: draw.randrange(1, 5)])


def quoting(draw: Draw) -> dict[str, Any]:
    """Options that the echo engine knows."""
    options: dict[str, Any] = {"seed": draw.randrange(2**32 - 1), "n": draw.choice([1, 1, 3])}
    if draw.random() < 0.7:
        options["tools"] = [{"type": "function", "function": {"name": "weather"}}]
        options |= some(draw, 0.3, [{"parallel_tool_calls": False}, {"tool_choice": "none"}], {})
    if draw.random() < 0.2:
        options["max_tokens"] = draw.randrange(1, 80)
    return options


def several(draw: Draw, *, stream: bool) -> dict[str, Any]:
    """More texts than one."""
    kind = draw.random()
    if kind < 0.2:
        return {"n": draw.choice([2, 3, 8])}
    if kind < 0.3 and not stream:
        n = draw.choice([1, 2])
        return {"n": n, "best_of": n + draw.choice([1, 3])}
    return {}


def form(draw: Draw) -> dict[str, Any]:
    """What the answer must follow."""
    schema = json.loads(draw.choice(SCHEMAS))
    by_schema = {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}
    one: dict[str, Any] = draw.choice(
        [
            {"response_format": by_schema},
            {"response_format": {"type": "json_object"}},
            {"choice": CHOICES},
            {"regex": draw.choice(REGEXES)},
            {"grammar": draw.choice([*STORED, *STORED, "json", NOBODYS])},
        ]
    )
    return one | {"max_tokens": 160}


def tools(draw: Draw) -> dict[str, Any]:
    """Tools, and whether one must be called."""
    names = draw.choice([["weather"], ["größe"], list(TOOLS)])
    offered = [{"type": "function", "function": {"name": name, "parameters": TOOLS[name]}} for name in names]
    one = {"type": "function", "function": {"name": some(draw, 0.1, [NOBODYS], names[-1])}}
    wanted: dict[str, Any] = {"tools": offered, "max_tokens": 160}
    if (choice := draw.choice([None, "auto", "none", "required", "required", one, one])) is not None:
        wanted["tool_choice"] = choice
    if draw.random() < 0.3:
        wanted["parallel_tool_calls"] = draw.random() < 0.5
    return wanted


# -- is it what was asked for? -----------------------------------------------------------------------------------


def invalid(options: dict[str, Any], choice: Choice) -> str:
    """Why `choice` is not what was asked for; empty where it is, or was cut off before it could be."""
    calls = choice.tool_calls or []
    if options.get("parallel_tool_calls") is False and len(calls) > 1:
        return f"{len(calls)} calls instead of one"
    if calls and ("tools" not in options or options.get("tool_choice") == "none"):
        return "a call though there were no tools"
    if choice.finish_reason == "length" or "stop" in options or "stop_token_ids" in options:
        return ""
    wanted = options.get("tool_choice")
    if wanted == "required" or isinstance(wanted, dict):
        offered = {tool["function"]["name"] for tool in options["tools"]}
        return _wrong_calls(calls, {wanted["function"]["name"]} if isinstance(wanted, dict) else offered)
    return _wrong_text(options, choice.text)


def _wrong_calls(calls: list[ToolCall], names: set[str]) -> str:
    if not calls:
        return "no call"
    for call in calls:
        if call.function.name not in names:
            return f"{call.function.name!r} was called, not one of {names}"
        if problem := _against(TOOLS[call.function.name], call.function.arguments):
            return problem
    return ""


def _wrong_text(options: dict[str, Any], text: str) -> str:
    if (wanted := options.get("response_format")) is not None:
        schema = wanted["json_schema"]["schema"] if "json_schema" in wanted else {"type": "object"}
        return _against(schema, text)
    if "choice" in options:
        return "" if text in options["choice"] else "not one of the choice"
    if options.get("grammar") == "json":
        return _against({}, text)
    expression = EXPRESSIONS.get(options.get("grammar", "")) or options.get("regex")
    return "" if expression is None or re.fullmatch(expression, text) else f"not {expression}"


def _against(schema: dict[str, Any], text: str) -> str:
    try:
        jsonschema_rs.validator_for(schema).validate(json.loads(text))
    except (ValueError, jsonschema_rs.ValidationError) as error:
        return f"{error}"
    return ""
