"""What may a sequence be asked for? Random submissions that mix all options of an engine."""

import random
from collections.abc import Callable
from typing import Any

from golek_wire.requests import Params, Resume
from golek_worker.engine.base import Constraint, Submit
from golek_worker.output import Output
from tests.support.grammars import PERSON

PREFIX = "<|system|>You answer questions about a fleet of workers, shortly and plainly, in one sentence.<|end|>"
QUESTIONS = (
    "What is NATS?",
    "hello",
    "What is a lease and who holds it?",
    "Is the queue lost when the broker restarts?",
    "Erzähl mir etwas über Größe und Übermut 😀",
    "What is the weather in Paris?",
)
WRITTEN = ("NATS is ", "I do not ", "A lease says", "{", "yes", "ß😀")
STOPS = (".", " the", "\n", "is a", "zzzz", "NATS")
GRAMMARS = (
    PERSON,
    'root ::= "yes" | "no"',
    'root ::= [a-z ]{3,30} "."',
    'root ::= "{" pair ("," pair)* "}"\npair ::= "\\"" [a-z]+ "\\":" [0-9]+',
    'root ::= "unfinished',
    'root ::= "日本" [ぁ-ん]+',
)
SCHEMAS = (
    '{"type":"object","properties":{"name":{"type":"string","maxLength":12}},"required":["name"]}',
    '{"enum":["red","green",3,null]}',
    '{"type":"array","items":{"type":"boolean"},"minItems":1,"maxItems":4}',
)
REGEXES = (r"[0-9]{3}-[0-9]{4}", r"(yes|no), (because|although) [a-z ]{3,20}\.", r"[A-Z][a-z]+( [A-Z][a-z]+){1,2}", "(")
LARKS = ('start: "NATS" | "JetStream" | "a lease"', 'start: /[a-z]+/ ("," /[a-z]+/){0,3}')
OUTPUTS = (
    Output("special"),
    Output("harmony"),
    Output("marked", think=("<think>", "</think>"), calls="tool_call"),
    Output("marked", think=("NATS", "."), begun="NATS"),
    Output("marked", calls="llama", one_call=True),
    Output("marked", think=(" is", " the"), calls="list"),
)
Draw = random.Random


def submission(number: int, adapters: list[str]) -> Submit:
    """The submission of this number: always the same one."""
    draw = Draw(number)
    return Submit(
        f"{number}",
        prompt(draw),
        params(draw),
        draw.randrange(2**32 - 1),
        stream=draw.random() < 0.5,
        output=some(draw, 0.2, OUTPUTS, Output()),
        resume=Resume(draw.choice(WRITTEN)) if draw.random() < 0.08 else None,
        constraint=constraint(draw) if draw.random() < 0.3 else None,
        adapter=some(draw, 0.25, adapters, "") if adapters else "",
    )


def some(draw: Draw, share: float, values: Any, usual: Any) -> Any:
    """One of `values` in a share of all cases."""
    return draw.choice(values) if draw.random() < share else usual


def prompt(draw: Draw) -> str:
    """Short, long, without a template, or with the beginning that many share; seldom none at all."""
    kind = draw.random()
    if kind < 0.02:
        return draw.choice(["", "a" * 20_000, "word " * 700])
    question = draw.choice(QUESTIONS)
    if kind < 0.2:
        return question
    if kind < 0.3:
        question = " ".join(draw.choices(question.split(), k=draw.randrange(20, 120)))
    return f"{PREFIX if draw.random() < 0.5 else ''}<|user|>{question}<|end|><|assistant|>"


def params(draw: Draw) -> Params:
    """Each option in a tenth of all cases or so."""
    values: dict[str, Any] = {
        "max_tokens": draw.choice([1, 2, 8, 24, 48, 64]),
        "temperature": draw.choice([0.0, 0.0, 0.3, 0.8, 0.8, 1.5, 5.0]),
        "ignore_eos": draw.random() < 0.3,
    }
    for name, value in OPTIONS.items():
        if draw.random() < 0.1:
            values[name] = value(draw)
    if values.get("top_logprobs"):
        values["logprobs"] = True
    return Params(**values)


def constraint(draw: Draw) -> Constraint:
    """By one of the languages; a few do not parse."""
    gbnf = [Constraint("gbnf", text) for text in GRAMMARS]
    schemas = [Constraint("json_schema", text, "response_format") for text in SCHEMAS]
    regexes = [Constraint("regex", text, "params.regex") for text in REGEXES]
    larks = [Constraint("lark", text, "params.choice") for text in LARKS]
    return draw.choice(draw.choice([gbnf, gbnf, schemas, regexes, larks]))


OPTIONS: dict[str, Callable[[Draw], Any]] = {
    "top_k": lambda draw: draw.choice([0, 1, 5, 2000]),
    "top_p": lambda draw: draw.choice([0.0, 0.3, 0.9, 1.0]),
    "min_p": lambda draw: draw.choice([0.0, 0.2, 1.0]),
    "typical_p": lambda draw: draw.choice([0.2, 0.9]),
    "top_n_sigma": lambda draw: draw.choice([0.5, 1.5]),
    "xtc_probability": lambda draw: draw.choice([0.5, 1.0]),
    "xtc_threshold": lambda draw: draw.choice([0.01, 0.2]),
    "repeat_penalty": lambda draw: draw.choice([0.8, 1.1, 2.0]),
    "frequency_penalty": lambda draw: draw.choice([-1.0, 0.5]),
    "presence_penalty": lambda draw: draw.choice([-1.0, 0.5]),
    "repeat_last_n": lambda draw: draw.choice([-1, 0, 4]),
    "dry_multiplier": lambda draw: draw.choice([0.5, 2.0]),
    "dry_allowed_length": lambda draw: draw.choice([0, 1, 4]),
    "dry_sequence_breakers": lambda draw: draw.choice([[], [" "], ["\n", "x"]]),
    "mirostat": lambda draw: draw.choice([1, 2]),
    "mirostat_tau": lambda draw: draw.choice([0.5, 3.0]),
    "logit_bias": lambda draw: {str(draw.randrange(1024)): draw.choice([-100.0, -3.0, 4.0]) for _ in range(4)},
    "stop": lambda draw: draw.choices(STOPS, k=draw.randrange(1, 4)),
    "stop_token_ids": lambda draw: draw.sample(range(1024), 3),
    "logprobs": lambda _: True,
    "top_logprobs": lambda draw: draw.randrange(1, 20),
}
