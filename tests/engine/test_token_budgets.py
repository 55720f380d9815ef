"""Texts for models that answer together, counted and fitted by real tokenizers of llama.cpp.

Who compresses is played here: what a model makes of a text is not the promise, but that no budget is exceeded by it.
"""

import ctypes
import random
import string
from collections.abc import Iterator
from dataclasses import dataclass, field

import llama_cpp
import pytest

from golek_wire.errors import CompressionFailedError, ContextBudgetExceededError
from golek_wire.replies import InferenceReply
from golek_wire.requests import InferenceRequest, Message, Params
from golek_worker.engine.base import EngineConfig, Finished, Submit
from golek_worker.engine.llamacpp import accents
from golek_worker.engine.llamacpp.engine import LlamaCppEngine
from golek_worker.engine.llamacpp.model import Model
from golek_worker.orchestration.base import COMPRESSOR, RECONCILER, Case, Cast, Material, Member, Step
from golek_worker.orchestration.budgets import by_rule
from golek_worker.orchestration.caches import Lru
from golek_worker.orchestration.compression import Compress, Counted, fit_to_budget
from golek_worker.orchestration.context import Context, Memory
from golek_worker.orchestration.counting import Counter, most_tokens
from golek_worker.orchestration.prompts import read
from golek_worker.prompt.base import Format
from golek_worker.prompt.build import ByTemplate, build
from golek_worker.prompt.templates import ChatTemplate
from tests.engine.tiny import MODEL
from tests.support import minilm, vocabularies

TEXTS = 500
CODE = 'def f(x):\n\treturn {"a": [x, x**2], "b": "<s>"}  # <|end|>\n'
"""With names of control tokens, too."""


def texts() -> Iterator[str]:
    """Texts of all of Unicode, words, code, and lines without an end; the same each time."""
    draw = random.Random(9)
    for number in range(TEXTS):
        length = draw.choice((0, 1, 7, 60, 300, 900))
        match number % 5:
            case 0:
                yield "".join(_character(draw) for _ in range(length))
            case 1:
                yield " ".join(draw.choice((*vocabularies.WORDS, "Decision:", "7,4", "\n\n")) for _ in range(length))
            case 2:
                yield CODE * (length // 40) + draw.choice(("", "é", "日本語", "🧑‍🚀"))
            case 3:
                yield draw.choice(string.printable) * length + "".join(draw.choices(string.printable, k=length))
            case _:
                yield "".join(
                    chr(draw.choice((0x41, 0xE9, 0x3B1, 0x4E2D, 0xAC01, 0x1F600, 0x301))) for _ in range(length)
                )


def _character(draw: random.Random) -> str:
    point = draw.randrange(1, 0x110000)
    return chr(point) if not 0xD800 <= point < 0xE000 else "\ufffd"


@dataclass
class Tokenizer:
    """A model's tokenizer, asked in llama.cpp's own terms and through the engine."""

    name: str
    model: Model
    engine: LlamaCppEngine | None
    asked: int = field(default=0)

    def own(self, text: str) -> int:
        """How many tokens llama.cpp makes of it, with what the model wants around a text."""
        data = (accents.dropped(text) if self.engine is None else text).encode()  # BERT reads no accents
        room = len(data) + 16
        tokens = (llama_cpp.llama_token * room)()
        found = llama_cpp.llama_tokenize(self.model.vocab, data, len(data), tokens, ctypes.c_int32(room), True, True)
        assert found >= 0
        return int(found)

    async def count(self, _model: str, request: InferenceRequest) -> int | None:
        """What a worker with this engine says to a request that only counts."""
        assert request.raw
        assert request.params.max_tokens == 0
        self.asked += 1
        if self.engine is None:
            return len(self.model.tokenize_whole(request.input or ""))
        ended = self.engine.submit(Submit(str(self.asked), request.input or "", request.params, 1))
        assert isinstance(ended, Finished)
        return ended.tokens_in


@pytest.fixture(scope="module", params=["golek-tiny", "bytes", "pieces", "minilm"])
def tokenizer(request: pytest.FixtureRequest) -> Iterator[Tokenizer]:
    """Byte-level BPE with a thousand tokens and with hardly any, SentencePiece with byte fallback, word pieces."""
    if request.param == "minilm":
        model = Model(EngineConfig("llamacpp", str(minilm.model_file()), 1, 0, 1), lambda done, total: None)
        yield Tokenizer(request.param, model, None)
        model.close()
        return
    file = MODEL if request.param == "golek-tiny" else vocabularies.model_file(request.param)
    engine = LlamaCppEngine(EngineConfig("llamacpp", str(file), 1, 0, 1), lambda done, total: None)
    yield Tokenizer(request.param, engine._model, engine)
    engine.close()


async def test_a_count_is_the_models_own_and_never_above_the_bound(tokenizer: Tokenizer) -> None:
    """What a member counts is what llama.cpp makes of the text, wherever it fits the context; and no text has more
    tokens than its bytes and the framing.
    """
    counter = Counter(tokenizer.count, Lru(), lambda _: "file")
    member = Member(tokenizer.name)
    for text in texts():
        own = tokenizer.own(text)
        if tokenizer.name != "minilm":
            assert own <= most_tokens(text) or not text
        if text:
            context = tokenizer.model.n_ctx_train
            counted = await counter.text(member, text)
            assert counted == own or (min(counted, own) > context and tokenizer.engine is not None)


async def test_nothing_that_was_fitted_exceeds_its_budget(tokenizer: Tokenizer) -> None:
    """500 texts: what comes back has at most so many tokens by the model's own tokenizer, and is the text itself where
    that fits; else it is an error, and the compressor was asked three times.
    """
    counter = Counter(tokenizer.count, Lru(), lambda _: "file")
    member = Member(tokenizer.name)
    draw = random.Random(4)
    outcomes = {"same": 0, "compressed": 0, "failed": 0}
    for text in texts():
        budget = draw.choice((0, 3, 40, 150, 400))
        played = _Played(random.Random(len(text) + budget))
        fitted, left = await _fitted(text, budget, lambda one: counter.text(member, one), played)
        if fitted is None:
            outcomes["failed"] += 1
            assert left > budget
            assert len(played.asked) == 3
            continue
        assert not fitted or tokenizer.own(fitted) <= budget
        outcomes["same" if fitted == text else "compressed"] += 1
        if text and tokenizer.own(text) <= budget:
            assert fitted == text
            assert not played.asked
        assert fitted == text or fitted in played.gave
    assert min(outcomes.values()) > 20, outcomes


async def _fitted(text: str, budget: int, count: Counted, compress: Compress) -> tuple[str | None, int]:
    """The text; or None, and how many tokens the error says are left."""
    try:
        return await fit_to_budget(text, budget, count, compress), 0
    except CompressionFailedError as error:
        return None, error.details["current_tokens"]


class _Played:
    """A compressing model that is sometimes of no use."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self.asked: list[tuple[str, int]] = []
        self.gave: list[str] = []

    async def __call__(self, text: str, tokens: int) -> str:
        self.asked.append((text, tokens))
        match self._draw.randrange(6):
            case 0:
                made = ""
            case 1:
                made = text + " and so on"
            case 2:
                made = text[: len(text) // 2]
            case 3:
                made = " ".join(text.split()[::3])
            case _:
                made = text[: max(1, tokens // 3)]
        self.gave.append(made.strip())
        return made


async def test_a_count_of_what_is_too_long_for_the_model_is_told_by_its_error() -> None:
    """A worker refuses to count what has more tokens than its context; the refusal says how many there are."""
    asked = list[InferenceRequest]()

    async def refuse(_model: str, request: InferenceRequest) -> int | None:
        asked.append(request)
        raise ContextBudgetExceededError(9000, 512)

    counter = Counter(refuse, Lru(), lambda _: "")
    assert await counter.text(Member("small"), "many words") == 9000
    assert await counter.text(Member("small"), "many words") == 9000
    assert len(asked) == 1


# -- whole prompts -----------------------------------------------------------------------------------------------------


@dataclass
class Whole:
    """The demo model with its own chat template: what it makes of whole requests."""

    model: Model
    form: Format

    def own(self, request: InferenceRequest) -> int:
        prompt = build(request, self.form)
        return len(self.model.tokenize(prompt.text, prompt.cuts))

    async def count(self, _model: str, request: InferenceRequest) -> int:
        return self.own(request)


@pytest.fixture(scope="module")
def whole() -> Iterator[Whole]:
    model = Model(EngineConfig("llamacpp", str(MODEL), 1, 0, 1), lambda done, total: None)
    yield Whole(model, ByTemplate(ChatTemplate(model.chat_template or "", model.bos_text, model.eos_text)))
    model.close()


async def test_no_prompt_is_larger_than_its_context_leaves(whole: Whole) -> None:
    """Texts of others of any kind, and questions of any length: template, trajectory and all, the prompt and what is to
    be written have the model's context at most, by its own tokenizer; or nothing is asked, and an error says why.
    """
    draw = random.Random(3)
    every = list(texts())
    outcomes = {"whole": 0, "compressed": 0, "refused": 0}
    for number in range(200):
        member = Member("golek-tiny", context_size=draw.choice((512, 1024, 2048)))
        limit = draw.choice((None, 16, 200))
        reads = [Material(f"Answer of {at}", draw.choice(every), f"{at}") for at in range(draw.randrange(4))]
        request = InferenceRequest(
            messages=[Message("user", f"Question {draw.choice(every)[:400]}")], params=Params(max_tokens=limit)
        )
        case = Case(request, Cast("debate", (member,), {COMPRESSOR: member}))
        played = _Played(random.Random(number))

        async def help_out(
            step: Step, wanted: InferenceRequest, played: _Played = played, context_size: int = member.context_size
        ) -> InferenceReply:
            assert whole.own(wanted) + (wanted.params.max_tokens or 0) <= context_size
            text = await played(step.reads[0].text, 20)
            return InferenceReply("", text, 1, 1, "stop", 1, 1)

        context = Context(case, Memory(read()), whole.count, help_out, request_id="r")
        try:
            made, compressed = await context.prepare(Step("reconcile", member, RECONCILER, reads=tuple(reads)))
        except (CompressionFailedError, ContextBudgetExceededError):
            outcomes["refused"] += 1
            continue
        outcomes["compressed" if compressed else "whole"] += 1
        least = by_rule(member.context_size).generation // 4 if limit is None else limit
        assert whole.own(made) + least <= member.context_size
    assert min(outcomes.values()) > 20, outcomes
