"""Is what a model writes by a schema always valid, and what does following it cost?

SCHEMAS random schemas (nested objects and arrays, optional properties, enums, constants, alternatives, references,
formats, expressions, lengths and ranges), each asked of golek-tiny at temperature 1 over the bus; every answer that
ended by itself is validated by jsonschema-rs, formats included. One that `max_tokens` cut off is counted as cut, not as
valid. All that they describe is finite: a model of this size, once it writes digits or blanks, goes on with them.

Then what a constraint costs, on the vocabulary of SCHEMAS_MODEL: to check and to compile a schema, to allow and take
the token that was drawn, and to find all tokens that are allowed, where it was not.
"""

import asyncio
import json
import os
import random
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import jsonschema_rs
import numpy as np
from support import ROOT, WorkerProcess, broker, figure, median, note

from golek_client import Golek, InvalidGrammarError
from golek_worker.engine.base import Constraint, EngineConfig
from golek_worker.engine.llamacpp import guidance
from golek_worker.engine.llamacpp.candidates import Candidates
from golek_worker.engine.llamacpp.guidance import Guidance
from golek_worker.engine.llamacpp.model import Model
from golek_worker.grammars import schemas

BENCH = "schemas"
SCHEMAS = int(os.environ.get("SCHEMAS", "500"))
SEED = int(os.environ.get("SCHEMAS_SEED", "5"))
MODEL = Path(os.environ.get("SCHEMAS_MODEL", ROOT / "data/models/golek-tiny/model.gguf"))
TOKENS = 1500
SLOTS = 8
DEPTH = 3
PATTERNS = (
    "^[a-z]{1,8}$",
    "^[A-Z][a-z]{2,10}( [A-Z][a-z]{2,10})?$",
    "^(red|green|blue)-[0-9]{1,3}$",
    "^\\d{3}-\\d{4}$",
)
NAMES = ("name", "age", "tags", "address", "kind", "größe", 'quo"te', "a b", "x", "items", "$value", "last-name")
CHAIN = {
    "type": "object",
    "properties": {"end": {"type": "boolean"}, "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/chain"}]}},
    "required": ["end", "next"],
    "additionalProperties": False,
}
VALUES = (None, True, 0, -3, 2.5, "", "text", 'a "b"\n', "🌍", [], [1, "a"], {"a": None})


class Generator:
    """Random schemas, each with definitions of its own."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw

    def schema(self) -> dict[str, Any]:
        """One whole schema."""
        self._names: list[str] = []
        definitions = {f"d{i}": self._one(DEPTH - 1) for i in range(self._draw.randint(0, 2))}
        if self._draw.random() < 0.2:
            definitions["chain"] = CHAIN
        self._names = list(definitions)
        return self._one(0) | ({"$defs": definitions} if definitions else {})

    def _one(self, depth: int) -> dict[str, Any]:
        leaves = [self._string, self._integer, self._number, self._enum, self._constant, self._plain]
        nodes = [self._object, self._object, self._array, self._any] if depth < DEPTH else []
        if self._names and depth:
            leaves.append(lambda: {"$ref": f"#/$defs/{self._draw.choice(self._names)}"})
        make = self._draw.choice(nodes if nodes and self._draw.random() < 0.7 else leaves)
        return make(depth) if make in nodes else make()  # type: ignore[call-arg]

    def _object(self, depth: int) -> dict[str, Any]:
        draw = self._draw
        names = draw.sample(NAMES, draw.randint(0, 5))
        made: dict[str, Any] = {"type": "object", "properties": {name: self._one(depth + 1) for name in names}}
        required = [name for name in names if draw.random() < 0.6]
        if required:
            made["required"] = required
        if draw.random() < 0.2:
            others = {"patternProperties": {"^k[0-9]{1,2}$": self._string()}, "maxProperties": len(names) + 2}
            made |= others | ({"required": names} if names else {})
        made["additionalProperties"] = False
        return made

    def _array(self, depth: int) -> dict[str, Any]:
        least = self._draw.randint(0, 2)
        bounds = {"minItems": least, "maxItems": least + self._draw.randint(0, 3)}
        if self._draw.random() < 0.15:
            return {
                "type": "array",
                "prefixItems": [self._one(depth + 1) for _ in range(2)],
                "items": False,
                "minItems": 2,
            }
        return {"type": "array", "items": self._one(depth + 1), **bounds}

    def _any(self, depth: int) -> dict[str, Any]:
        return {"anyOf": [self._one(depth + 1) for _ in range(self._draw.randint(2, 3))]}

    def _string(self) -> dict[str, Any]:
        match self._draw.randint(0, 3):
            case 0:
                return {"type": "string", "format": self._draw.choice(schemas.FORMATS), "maxLength": 40}
            case 1:
                return {"type": "string", "pattern": self._draw.choice(PATTERNS)}
            case 2:
                least = self._draw.randint(0, 5)
                return {"type": "string", "minLength": least, "maxLength": least + self._draw.randint(0, 20)}
            case _:
                return {"type": "string", "maxLength": 30}

    def _integer(self) -> dict[str, Any]:
        least = self._draw.randint(-1000, 1000)
        return {"type": "integer", "minimum": least, "maximum": least + self._draw.randint(0, 5000)}

    def _number(self) -> dict[str, Any]:
        least = self._draw.randint(-50, 50) / 4
        most = least + self._draw.randint(1, 100) / 4
        return {"type": "number", "minimum": least, "exclusiveMaximum": most, "multipleOf": 0.25}

    def _enum(self) -> dict[str, Any]:
        return {"enum": self._draw.sample(VALUES, self._draw.randint(1, 5))}

    def _constant(self) -> dict[str, Any]:
        return {"const": self._draw.choice(VALUES)}

    def _plain(self) -> dict[str, Any]:
        return {"type": self._draw.choice(["boolean", "null", ["boolean", "null"]])}


async def validity() -> None:
    """How many of the answers are valid, and how many were cut off."""
    generator = Generator(random.Random(SEED))
    wanted = [generator.schema() for _ in range(SCHEMAS)]
    with broker() as url, tempfile.TemporaryDirectory() as folder:
        settings = {"WORKER_CONCURRENCY": SLOTS, "CTX_SIZE": 2048}
        with WorkerProcess(url, Path(folder), "golek-tiny", **settings):
            async with Golek(url, deadline=120.0) as golek:
                ended = await asyncio.gather(*(answer(golek, i, schema) for i, schema in enumerate(wanted)))
    valid = sum(one == "valid" for one in ended)
    cut = sum(one == "cut" for one in ended)
    refused = sum(one == "refused" for one in ended)
    figure(BENCH, "schemas_valid_share", valid / max(1, SCHEMAS - cut), None, "share of those not cut off", SCHEMAS)
    figure(BENCH, "schemas_refused", refused, None, "schemas that cannot be followed", SCHEMAS)
    figure(BENCH, "schemas_cut", cut, None, f"answers that {TOKENS} tokens did not end", SCHEMAS)


async def answer(golek: Golek, number: int, schema: dict[str, Any]) -> str:
    """Whether the answer by one schema is valid."""
    form = {"type": "json_schema", "json_schema": {"name": "random", "schema": schema}}
    try:
        reply = await golek.ask(
            "golek-tiny", "Tell me something", response_format=form, temperature=1.0, seed=number, max_tokens=TOKENS
        )
    except InvalidGrammarError as error:
        note(f"schema {number} refused: {error}: {json.dumps(schema)}")
        return "refused"
    if reply.finish_reason == "length":
        note(f"schema {number} cut: {json.dumps(schema)[:150]} … {reply.text[-60:]!r}")
        return "cut"
    try:
        jsonschema_rs.validator_for(schema, validate_formats=True).validate(json.loads(reply.text))
    except (ValueError, jsonschema_rs.ValidationError) as error:
        note(f"schema {number} INVALID: {json.dumps(schema)}\n{reply.text}\n{error}")
        return "invalid"
    return "valid"


def costs() -> None:
    """Microseconds of a constraint, per schema and per token."""
    model = Model(EngineConfig("llamacpp", str(MODEL), 1, 0, 1), lambda _done, _total: None)
    began = perf_counter()
    guidance.vocabulary(model)
    figure(BENCH, "vocabulary_ms", (perf_counter() - began) * 1000, None, "ms once per load", 1)
    generator = Generator(random.Random(SEED))
    candidates = Candidates(model.n_vocab)
    logits = np.zeros(model.n_vocab, np.float32)
    draw = np.random.default_rng(SEED)
    checks, compiles, takes, masks = [], [], [], []
    for _ in range(min(SCHEMAS, 200)):
        schema = generator.schema()
        checks.append(_timed(lambda schema=schema: schemas.compiled(schema, "it"))[0])
        text = schemas.compiled(schema, "it")
        seconds, guide = _timed(lambda text=text: Guidance(model, Constraint("json_schema", text)))
        compiles.append(seconds)
        for _ in range(40):
            candidates.fill(logits)
            masks.append(_timed(lambda guide=guide: guide.apply(candidates))[0])
            allowed = np.flatnonzero(np.isfinite(candidates.logits))
            token = int(draw.choice(allowed))
            if token in model.ends:
                break
            takes.append(_timed(lambda guide=guide, token=token: guide.allows(token) and guide.accept(token))[0])
    model.close()
    unit = f"us, vocabulary of {model.n_vocab}"
    for name, seconds in (("check", checks), ("compile", compiles), ("take", takes), ("mask", masks)):
        figure(BENCH, f"{name}_us", median(seconds) * 1e6, None, unit, len(seconds))
        figure(BENCH, f"{name}_us_p99", float(np.percentile(seconds, 99)) * 1e6, None, unit, len(seconds))


def _timed(work: Any) -> tuple[float, Any]:
    began = perf_counter()
    made = work()
    return perf_counter() - began, made


if __name__ == "__main__":
    asyncio.run(validity())
    costs()
