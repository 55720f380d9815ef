"""Which conversations and completions are harmony's renderer and reader tested with?

Conversations are in the terms of OpenAI's chat API; `make_harmony_golden.py` asks the library for their prompts, and
for the answers in the completions.
"""

from collections.abc import Sequence
from typing import Any

JSON = dict[str, Any]
IDENTITY = "ChatGPT, a large language model trained by OpenAI"


def tool(name: str, description: str | None = None, parameters: JSON | None = None) -> JSON:
    """A tool as OpenAI's API takes it."""
    function: JSON = {"name": name}
    if description is not None:
        function["description"] = description
    if parameters is not None:
        function["parameters"] = parameters
    return {"type": "function", "function": function}


def fields(required: Sequence[str] = (), **properties: JSON) -> JSON:
    return {"type": "object", "properties": properties, "required": list(required)}


def call(name: str, arguments: str, call_id: str = "call_1") -> JSON:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def user(text: str, **more: str) -> JSON:
    return {"role": "user", "content": text, **more}


def assistant(text: str | None = None, **more: Any) -> JSON:
    return {"role": "assistant", **({} if text is None else {"content": text}), **more}


def system(text: str) -> JSON:
    return {"role": "system", "content": text}


def developer(text: str) -> JSON:
    return {"role": "developer", "content": text}


def result(text: str, call_id: str = "call_1") -> JSON:
    return {"role": "tool", "content": text, "tool_call_id": call_id}


WEATHER = tool(
    "get_weather",
    "Gets the weather of a place.",
    fields(
        ["place"],
        place={"type": "string", "description": "City and country."},
        unit={"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
    ),
)
LATER = tool("get_time", "Tells the time.")
NESTED = tool(
    "book",
    "Books a journey.\nAsk before you pay.",
    fields(
        ["who", "legs"],
        who={
            "type": "object",
            "description": "The traveller.",
            "properties": {
                "name": {"type": "string", "title": "Full name", "description": "As in the passport."},
                "age": {"type": "integer"},
                "contact": fields(mail={"type": "string"}, phone={"type": "string", "nullable": True}),
            },
            "required": ["name"],
        },
        legs={"type": "array", "items": fields(["from"], **{"from": {"type": "string"}, "stops": {"type": "number"}})},
        tags={"type": "array", "items": {"type": "string"}, "default": ["a", "b"]},
        notes={"type": "array"},
        urgent={"type": "boolean", "default": False, "description": "Costs more."},
    ),
)
UNIONS = tool(
    "search",
    "Searches.",
    fields(
        ["query"],
        query={"type": ["string", "integer", "null"], "description": "What for."},
        within={
            "description": "Where to look.",
            "default": "all",
            "oneOf": [
                {"type": "string", "enum": ["all", "new"], "description": "A shelf.", "default": "all"},
                {"type": "number", "description": "A year.", "nullable": True, "default": 2020},
                fields(start={"type": "integer"}, end={"type": "integer"}),
            ],
        },
        same={"description": "One.", "oneOf": [{"type": "string", "description": "One."}, {"type": "boolean"}]},
        example={"type": "string", "examples": ["tea", "green tea"], "default": 'süß "tea"'},
        anything={"description": "Whatever."},
        mapped={"type": "object", "description": "Free form."},
        limit={"type": "integer", "default": 10, "minimum": 1},
        ratio={"type": "number", "default": 0.5},
        nothing={"type": "string", "default": None, "nullable": True},
        choice={"type": "integer", "enum": [1, 2, 3]},
        matrix={"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        options={"type": "array", "items": {"type": "string", "enum": ["x", "y"]}},
        variants={"type": "array", "items": {"oneOf": [{"type": "string", "default": "s"}, {"type": "null"}]}},
        defaults={"type": "object", "default": {"deep": [1, {"a": "b"}]}},
    ),
)
UNICODE = tool("suche", "Sucht — überall 🌍.", fields(ort={"type": "string", "description": "Größe: 30 °C"}))
EMPTY = tool("nothing", "", fields())
TOP_ONE_OF = tool(
    "either", "Either.", {"oneOf": [fields(a={"type": "string"}), {"type": "string", "description": "b"}]}
)

ASKED = [user("How warm is it in Oslo?")]
CALLED = [
    *ASKED,
    assistant(reasoning_content="I need the tool.", tool_calls=[call("get_weather", '{"place":"Oslo, Norway"}')]),
    result('{"celsius": 20}'),
]
ANSWERED = [*CALLED, assistant("It is 20 °C in Oslo.", reasoning_content="Now I know.")]

CONVERSATIONS: dict[str, JSON] = {
    "plain": {"messages": [user("What is 2 + 2?")]},
    "low": {"messages": [user("hi")], "reasoning_level": "low"},
    "high": {"messages": [user("hi")], "reasoning_level": "high"},
    "another identity": {
        "messages": [user("hi")],
        "identity": "Golek, a fleet of workers",
        "knowledge_cutoff": "2025-01",
    },
    "no cutoff": {"messages": [user("hi")], "knowledge_cutoff": ""},
    "system": {"messages": [system("Answer in rhymes."), user("hi")]},
    "developer": {"messages": [developer("Answer in rhymes."), user("hi")]},
    "system and developer": {"messages": [system("Be brief."), developer("Be kind.\nAlways."), user("hi")]},
    "empty system": {"messages": [system(""), user("hi")]},
    "only a system": {"messages": [system("Greet the user.")]},
    "instructions later": {"messages": [user("hi"), assistant("Hello"), system("Now be brief."), user("again")]},
    "turns": {"messages": [user("2 + 2?"), assistant("4"), user("+ 3?"), assistant("7"), user("- 1?")]},
    "unicode": {"messages": [system("Sprich Deutsch — immer."), user("Grüße 🌍\n\tÄ\u00a0ß 漢字 \u200d")]},
    "whitespace": {"messages": [user("  leading\n\n\ntrailing  \n")]},
    "empty": {"messages": [user("")]},
    "code": {"messages": [user("```python\nif a < b and b > c:\n    print('<x>')\n```")]},
    "named user": {"messages": [user("hi", name="ann"), assistant("Hello Ann"), user("bye", name="bob")]},
    "last is the assistant": {"messages": [user("hi"), assistant("Hello")]},
    "one tool": {"messages": ASKED, "tools": [WEATHER]},
    "a tool without parameters": {"messages": ASKED, "tools": [LATER]},
    "a tool without words": {"messages": ASKED, "tools": [tool("silent"), EMPTY]},
    "several tools": {"messages": [system("Use tools."), *ASKED], "tools": [WEATHER, LATER, NESTED]},
    "nested": {"messages": ASKED, "tools": [NESTED]},
    "unions": {"messages": ASKED, "tools": [UNIONS]},
    "one of at the top": {"messages": ASKED, "tools": [TOP_ONE_OF]},
    "unicode in tools": {"messages": ASKED, "tools": [UNICODE]},
    "a call and its result": {"messages": CALLED, "tools": [WEATHER]},
    "an answered call": {"messages": ANSWERED, "tools": [WEATHER]},
    "after an answered call": {"messages": [*ANSWERED, user("And in Rome?")], "tools": [WEATHER]},
    "two calls in turn": {
        "messages": [
            *CALLED,
            assistant(reasoning_content="And the time.", tool_calls=[call("get_time", "{}", "call_2")]),
            result("12:00", "call_2"),
        ],
        "tools": [WEATHER, LATER],
    },
    "two calls at once": {
        "messages": [
            *ASKED,
            assistant(tool_calls=[call("get_weather", '{"place":"Oslo"}', "a"), call("get_time", "{}", "b")]),
            result("20", "a"),
            result("12:00", "b"),
        ],
        "tools": [WEATHER, LATER],
    },
    "words before a call": {
        "messages": [
            *ASKED,
            assistant("Let me look.", tool_calls=[call("get_weather", '{"place": "Oslo"}')]),
            result("1"),
        ],
        "tools": [WEATHER],
    },
    "calls without tools": {"messages": CALLED},
    "thoughts of an earlier answer": {
        "messages": [user("hi"), assistant("Hello", reasoning_content="A greeting."), user("again")],
    },
    "thoughts of two answers": {
        "messages": [
            user("a"),
            assistant("A", reasoning_content="1"),
            user("b"),
            assistant("B", reasoning_content="2"),
            user("c"),
        ],
        "dropped": True,
    },
    "a call after an answer": {
        "messages": [
            user("hi"),
            assistant("Hello", reasoning_content="A greeting."),
            *CALLED,
        ],
        "tools": [WEATHER],
        "dropped": True,
    },
    "a call after an answered call": {
        "messages": [
            *ANSWERED,
            user("And in Rome?"),
            assistant(reasoning_content="Again.", tool_calls=[call("get_weather", '{"place":"Rome"}', "call_9")]),
            result("30", "call_9"),
        ],
        "tools": [WEATHER],
        "dropped": True,
    },
}
"""`dropped`: the library forgets thoughts only when the very last message of the assistant is final, and then only
those before the first final. The format's description drops all before the last final: here it is done beforehand."""

FINAL = "<|channel|>final<|message|>"
ANALYSIS = "<|channel|>analysis<|message|>"
AGAIN = "<|end|><|start|>assistant"
CALLING = "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
COMPLETIONS = {
    "final alone": f"{FINAL}Hello<|return|>",
    "thoughts first": f"{ANALYSIS}A greeting.{AGAIN}{FINAL}Hello!<|return|>",
    "long thoughts": f"{ANALYSIS}" + "Let us think. " * 40 + f"{AGAIN}{FINAL}42<|return|>",
    "unicode": f"{ANALYSIS}Grüße 🌍{AGAIN}{FINAL}Grüße 🌍 漢字 — ßßß\n👩‍👩‍👧‍👦<|return|>",
    "several lines": f"{FINAL}a\n\n  b\n\tc\n<|return|>",
    "code": f"{FINAL}```c\nif (a < b && b <c) x = a<|return|>",
    "angle brackets": f"{FINAL}< <| <|en <|end <| end|> <|x|> |> <<|return|>",
    "ends with a bracket": f"{FINAL}a <<|return|>",
    "ends like a name": f"{FINAL}a <|en",
    "empty final": f"{FINAL}<|return|>",
    "final ends with end": f"{ANALYSIS}x{AGAIN}{FINAL}Hello<|end|>",
    "a tool call": f'{ANALYSIS}I need it.{AGAIN}{CALLING}{{"place": "Oslo"}}<|call|>',
    "a tool call alone": f"{CALLING}{{}}<|call|>",
    "recipient in the role": f"{ANALYSIS}x{AGAIN} to=functions.now<|channel|>commentary json<|message|>{{}}<|call|>",
    "recipient at once": " to=functions.get_time<|channel|>commentary<|message|>{}<|call|>",
    "words before a call": f"<|channel|>commentary<|message|>Let me look.{AGAIN}{CALLING}{{}}<|call|>",
    "commentary then final": f"<|channel|>commentary<|message|>Wait.{AGAIN}{FINAL}Done<|return|>",
    "two analyses": f"{ANALYSIS}one{AGAIN}{ANALYSIS}two{AGAIN}{FINAL}three<|return|>",
    "two finals": f"{FINAL}one{AGAIN}{FINAL} two<|return|>",
    "final then analysis": f"{FINAL}one{AGAIN}{ANALYSIS}two<|end|>",
    "final, thoughts, final": f"{FINAL}one{AGAIN}{ANALYSIS}two{AGAIN}{FINAL}three<|return|>",
    "cut in the thoughts": f"{ANALYSIS}I was thinking about",
    "cut in the answer": f"{ANALYSIS}x{AGAIN}{FINAL}It is about tw",
    "cut in a header": f"{ANALYSIS}x{AGAIN}<|channel|>fin",
    "cut after a header": f"{ANALYSIS}x{AGAIN}{FINAL}",
    "cut after a start": f"{ANALYSIS}x{AGAIN}",
    "cut after an end": f"{ANALYSIS}x<|end|>",
    "cut in a call": f'{CALLING}{{"pla',
    "a constrained answer": '<|channel|>final <|constrain|>json<|message|>{"a": 1}<|return|>',
    "a final with a recipient": "<|channel|>final to=user<|message|>Hello<|return|>",
    "an unknown channel": f"<|channel|>finale<|message|>x{AGAIN}{FINAL}y<|return|>",
    "no channel": f"<|message|>x{AGAIN}{FINAL}y<|return|>",
    "control names in the thoughts": f"{ANALYSIS}it says <|channel|>final<|message|> there{AGAIN}{FINAL}y<|return|>",
    "control names in the answer": f"{FINAL}a <|channel|>b <|message|>c <|start|>d <|constrain|>e<|return|>",
    "a start inside the thoughts": f"{ANALYSIS}x<|start|>assistant{FINAL}y<|return|>",
    "nothing": "",
}
