"""What does golek-tiny read in training? Whole dialogues: turns, system lines, offered tools, tool results.

A dialogue is what a caller would send, OpenAI style, plus the answers; it becomes text through the same chat
template that is stored in the GGUF file, so training and serving cannot differ.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from jinja2.sandbox import ImmutableSandboxedEnvironment

from demo_model.wordings import TRAIN_DIR, Lessons, compose_wordings, refuse_overlap, talk_wordings

WORDINGS_PER_TOPIC = 6_000
TEMPLATE_FILE = TRAIN_DIR / "chat_template.jinja"

# How often each kind of dialogue is drawn.
DIALOGUE_WEIGHTS = {"single": 62, "several": 12, "tool": 26}
TURN_WEIGHTS = {"topic": 76, "talk": 13, "off_topic": 11}
SYSTEM_RATE = 0.25
# How many of the values and names are words that nobody has seen.
MADE_UP_RATE = 0.2
MADE_UP_NAME_RATE = 0.05

Message = dict[str, Any]


@dataclass
class Dialogue:
    """Messages as a caller sends them, with the assistant's answers, and the tools on offer."""

    messages: list[Message] = field(default_factory=list)
    tools: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, question: str, answer: str) -> None:
        self.messages.append({"role": "user", "content": question})
        self.messages.append({"role": "assistant", "content": answer})


class ChatTemplate:
    """The chat template of golek-tiny, rendered as inference engines render it."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(source)

    def render(
        self, messages: list[Message], tools: list[dict[str, Any]] | None, *, add_generation_prompt: bool
    ) -> str:
        return self._template.render(
            messages=messages,
            tools=tools or None,
            add_generation_prompt=add_generation_prompt,
            bos_token="<|end|>",
            eos_token="<|end|>",
        )


class Dialogues(Protocol):
    """What a model is taught."""

    def draw(self) -> Iterator[Dialogue]: ...


class Curriculum:
    """Draws dialogues without end, the same ones for the same seed."""

    def __init__(self, lessons: Lessons, seed: int) -> None:
        self._lessons = lessons
        self._rng = random.Random(seed)
        self.topics = {
            s.key: (s.answer, compose_wordings(lessons, s, WORDINGS_PER_TOPIC, self._rng)) for s in lessons.subjects
        }
        self.talk = [(t["answer"], talk_wordings(t, self._rng)) for t in lessons.talk]
        off = lessons.off_topic
        self.off_topic = (off.answer, compose_wordings(lessons, off, WORDINGS_PER_TOPIC, self._rng))
        refuse_overlap([w for _, wordings in [*self.topics.values(), *self.talk, self.off_topic] for w in wordings])

    def draw(self) -> Iterator[Dialogue]:
        rng = self._rng
        while True:
            kind = _weighted(rng, DIALOGUE_WEIGHTS)
            dialogue = Dialogue()
            if rng.random() < SYSTEM_RATE:
                dialogue.messages.append({"role": "system", "content": rng.choice(self._lessons.systems)})
            if kind == "tool":
                self._add_tool_turns(dialogue)
            else:
                for _ in range(1 if kind == "single" else rng.choice((2, 2, 2, 3, 3, 4, 6))):
                    dialogue.ask(*self._turn())
            yield dialogue

    def _turn(self) -> tuple[str, str]:
        rng = self._rng
        match _weighted(rng, TURN_WEIGHTS):
            case "topic":
                answer, wordings = self.topics[rng.choice(list(self.topics))]
            case "talk":
                answer, wordings = rng.choice(self.talk)
            case _:
                answer, wordings = self.off_topic
        return rng.choice(wordings), answer

    def _add_tool_turns(self, dialogue: Dialogue) -> None:
        """Tools on offer, and (1) a request for one of them, (2) an ordinary question, (3) a request nobody serves."""
        rng = self._rng
        specs = self._lessons.tools["tool"]
        wanted, *others = rng.sample(specs, k=rng.choice((1, 1, 2, 2, 3)))
        offered = [(spec, tool_schema(spec, rng)) for spec in (wanted, *others)]
        if rng.random() < 0.25:
            dialogue.ask(*self._turn())
        draw = rng.random()
        if draw < 0.70:
            self._add_call(dialogue, wanted, offered[0][1])
        elif draw < 0.90:
            dialogue.ask(*self._turn())
        else:
            request, _ = tool_request(wanted, self._lessons.tools["values"], rng)
            dialogue.ask(request, self.off_topic[0])
            offered = offered[1:]
        rng.shuffle(offered)
        dialogue.tools = [schema for _, schema in offered]

    def _add_call(self, dialogue: Dialogue, spec: dict[str, Any], schema: dict[str, Any]) -> None:
        """The request and the call; now and then also the tool's result and what to make of it."""
        rng = self._rng
        request, values = tool_request(spec, self._lessons.tools["values"], rng)
        names = list(schema["function"]["parameters"]["properties"])
        arguments = dict(zip(names, values, strict=False))
        dialogue.ask(request, json.dumps({"name": schema["function"]["name"], "arguments": arguments}))
        if rng.random() < 0.2:
            result = rng.choice((made_up_word(rng), str(rng.randrange(1000)), f"{rng.randrange(-9, 40)} C"))
            dialogue.messages.append({"role": "tool", "content": result})
            dialogue.messages.append({"role": "assistant", "content": f"The tool says: {result}"})


def tool_schema(spec: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """One way to offer this tool: its names, its parameter names and its description vary."""
    name = rng.choice(spec["names"])
    if rng.random() < MADE_UP_NAME_RATE:
        name = rng.choice((f"{made_up_word(rng)}_{name}", f"{name}_{made_up_word(rng)}", f"{name}_v{rng.randrange(9)}"))
    names = [rng.choice(spec["aliases"][p]) if "aliases" in spec else p for p in spec["params"]]
    properties: dict[str, Any] = {
        n: {"type": "number" if p in "ab" else "string"} for n, p in zip(names, spec["params"], strict=True)
    }
    if rng.random() < 0.15:
        properties[rng.choice(("unit", "units", "lang", "format", "detail"))] = {"type": "string"}  # never asked for
    about = rng.choice(spec["about"])
    return {
        "type": "function",
        "function": {"name": name, "description": about, "parameters": {"type": "object", "properties": properties}},
    }


def tool_request(spec: dict[str, Any], values: dict[str, list[str]], rng: random.Random) -> tuple[str, list[Any]]:
    """A question that this tool answers, and the argument values in it, in the order of the parameters."""
    drawn: dict[str, Any] = {p: _argument(p, values, rng) for p in spec["params"]}
    request = rng.choice(spec["asks"]).format_map(drawn)
    if rng.random() < 0.3:
        request = request[0].lower() + request[1:].rstrip("?.") if request[0] != "{" else request
        request = _keeping(request, drawn)
    return request, list(drawn.values())


def _keeping(request: str, drawn: dict[str, Any]) -> str:
    """The request unless changing its case has changed an argument."""
    if all(str(value) in request for value in drawn.values()):
        return request
    return request[0].upper() + request[1:]


def _argument(param: str, values: dict[str, list[str]], rng: random.Random) -> Any:
    if param in ("a", "b"):
        return rng.randrange(rng.choice((10, 100)))
    if param == "model":
        return (
            rng.choice(values["model"])
            if rng.random() > MADE_UP_RATE
            else f"{made_up_word(rng)}-{rng.randrange(1, 99)}b"
        )
    pool = values["city" if param == "city" else "word"]
    word = rng.choice(pool) if rng.random() > MADE_UP_RATE else made_up_word(rng)
    return word[0].upper() + word[1:] if param == "city" else word


def made_up_word(rng: random.Random) -> str:
    """A word that nobody has seen, so that copying is learnt and not a list of cities."""
    starts = [
        "b",
        "br",
        "c",
        "ch",
        "d",
        "f",
        "g",
        "gr",
        "h",
        "j",
        "k",
        "l",
        "m",
        "n",
        "p",
        "pr",
        "r",
        "s",
        "st",
        "t",
        "tr",
        "v",
        "w",
        "z",
        "",
    ]
    ends = ["", "", "n", "r", "s", "l", "t", "m", "nd", "rk", "ss", "ck"]
    return "".join(
        rng.choice(starts) + rng.choice("aeiou") + rng.choice(ends) for _ in range(rng.choice((1, 2, 2, 3)))
    ).ljust(3, "a")


def _weighted(rng: random.Random, weights: dict[str, int]) -> str:
    return rng.choices(list(weights), weights=list(weights.values()))[0]
