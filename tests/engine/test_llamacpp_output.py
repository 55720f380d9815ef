"""How llama.cpp's tokens become text: control tokens named, and the final channel of a harmony completion.

The shipped demo model, its control tokens renamed to those of gpt-oss; what is drawn is given, for it has learnt none
of this.
"""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from golek_wire.errors import BadRequestError
from golek_wire.replies import Delta
from golek_wire.requests import Params, Resume
from golek_worker.engine.base import Finished, Submit
from golek_worker.engine.llamacpp.context import Context
from golek_worker.engine.llamacpp.engine import LlamaCppEngine
from golek_worker.engine.llamacpp.model import Model
from golek_worker.engine.llamacpp.sampling import Sampler
from golek_worker.output import Output
from tests.engine.driver import gbnf, untimed
from tests.engine.tiny import MODEL, engine_of

NAMES = {
    "<|pad|>": "<|start|>",
    "<|system|>": "<|return|>",
    "<|user|>": "<|call|>",
    "<|assistant|>": "<|message|>",
    "<|tool|>": "<|channel|>",
}
RETURN = 1
"""Token that was `<|system|>`."""
THOUGHT = "<|channel|>analysis<|message|>hm STOP<|end|><|start|>assistant"
ANSWER = "<|channel|>final<|message|>"
CALL = '<|channel|>commentary to=functions.x <|message|>{"a": 1}<|call|>'


def as_gpt_oss(path: Path) -> Path:
    """The demo model with other control tokens. The chat template makes up for the change in length."""
    data = MODEL.read_bytes()
    grown = 0
    for old, new in NAMES.items():
        was, becomes = _string(old), _string(new)
        assert data.count(was) == 1
        data = data.replace(was, becomes)
        grown += len(becomes) - len(was)
    for key in ("bos", "eos", "eot", "padding"):
        name = _string(f"tokenizer.ggml.{key}_token_id")
        at = data.index(name) + len(name) + 4
        data = data[:at] + struct.pack("<I", RETURN) + data[at + 4 :]
    key = _string("tokenizer.chat_template")
    at = data.index(key) + len(key) + 4
    (length,) = struct.unpack_from("<Q", data, at)
    data = data[:at] + _string("x" * (length - grown)) + data[at + 8 + length :]
    path.write_bytes(data)
    return path


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaCppEngine]:
    """The renamed model, in this process."""
    path = as_gpt_oss(tmp_path_factory.mktemp("model") / "model.gguf")
    with engine_of(2, 512, path) as engine:
        yield engine


def tokens(model: Model, *parts: str) -> list[int]:
    """Names as control tokens; a name cut into parts is plain text."""
    return [token for part in parts for token in model.tokenize(part)]


Writes = Callable[..., Finished]
HARMONY = Output("harmony", calls="harmony", opening=ANSWER)
SPECIAL = Output("special")


def text_of(piece: str | Delta) -> str:
    return piece if isinstance(piece, str) else piece.text


@pytest.fixture
def writes(engine: LlamaCppEngine, monkeypatch: pytest.MonkeyPatch) -> Writes:
    """Runs a sequence whose tokens are given, as stream and as one text; both must be the same."""

    def run(output: Output, *parts: str, before: str = "", **params: object) -> Finished:
        drawn = tokens(engine._model, *parts)

        def draw(_sampler: Sampler, _context: Context, _row: int) -> int:
            return left.pop(0)

        monkeypatch.setattr(Sampler, "sample", draw)
        answers = []
        for stream in (False, True):
            left = list(drawn)
            resume = Resume(before) if before else None
            given = Params(**params)  # type: ignore[arg-type]
            engine.submit(Submit("j", "Hello", given, 1, stream, output, resume, gbnf(given)))
            events = []
            while engine.running:
                events += list(engine.step())
            *deltas, end = events
            assert isinstance(end, Finished)
            assert not stream or before + "".join(text_of(delta) for _, delta in deltas) == end.text
            answers.append(end)
        assert untimed(answers[0]) == untimed(answers[1])
        return answers[0]

    return run


def test_the_models_names_are_special_tokens(engine: LlamaCppEngine) -> None:
    """As in gpt-oss: `<|return|>` and `<|call|>` end a text, `<|end|>` does not."""
    model = engine._model
    ends = {model.named_piece(token) for token in model.ends}
    assert ends == {b"<|return|>", b"<|call|>"}
    for name in (*NAMES.values(), "<|end|>"):
        (token,) = model.tokenize(name)
        assert model.is_special(token)
        assert model.named_piece(token) == name.encode()
    assert not any(model.is_special(token) for token in model.tokenize("final"))


def test_harmony_shows_the_final_channel(writes: Writes) -> None:
    """Thoughts and names are hidden, and every token is counted."""
    answer = writes(HARMONY, THOUGHT, ANSWER, "Hi <b>|> <|", "<|return|>")
    assert (answer.text, answer.finish_reason) == ("Hi <b>|> <|", "stop")
    assert answer.tokens_out > 15


@pytest.mark.parametrize(
    ("parts", "params", "text", "reason"),
    [
        ([THOUGHT], {"max_tokens": 4}, "", "length"),
        ([THOUGHT, CALL], {}, "", "tool_calls"),
        ([THOUGHT, ANSWER, "one STOP two<|return|>"], {"stop": "STOP"}, "one ", "stop"),
        ([THOUGHT, ANSWER, "one ST", "<|return|>"], {"stop": "STOP"}, "one ST", "stop"),
        ([ANSWER, "one<|end|><|start|>assistant", ANSWER, "two<|return|>"], {}, "onetwo", "stop"),
        ([ANSWER, "it says <|", "end|> there", "<|return|>"], {}, "it says <|end|> there", "stop"),
    ],
)
def test_how_harmony_completions_end(
    writes: Writes, parts: list[str], params: dict[str, object], text: str, reason: str
) -> None:
    """In the thoughts: nothing, with the reason; at a call; before a stop string of the answer, not of the thoughts."""
    answer = writes(HARMONY, *parts, **params)
    assert (answer.text, answer.finish_reason) == (text, reason)


def test_special_names_control_tokens(writes: Writes) -> None:
    """All but the one that ends the text."""
    assert writes(SPECIAL, THOUGHT, ANSWER, "Hi<|return|>").text == THOUGHT + ANSWER + "Hi"


@pytest.mark.parametrize(
    ("parts", "text", "reason"),
    [
        (["two<|return|>"], "one two", "stop"),
        (["two<|end|><|start|>assistant", THOUGHT, ANSWER, " three<|return|>"], "one two three", "stop"),
        (["<|end|><|start|>assistant", CALL], "one ", "tool_calls"),
        (["two STOP"], "one two ", "stop"),
    ],
)
def test_a_resumed_harmony_answer_goes_on_in_the_final_channel(
    writes: Writes, engine: LlamaCppEngine, parts: list[str], text: str, reason: str
) -> None:
    """The model reads that it opened the channel and wrote the text; what it opened then counts as written."""
    answer = writes(HARMONY, *parts, before="one ", stop="STOP")
    assert (answer.text, answer.finish_reason) == (text, reason)
    written = [token for token in tokens(engine._model, ANSWER, "one ", *parts) if token not in engine._model.ends]
    assert answer.tokens_out == len(written)


def test_a_named_token_in_a_resumed_text_is_that_token(writes: Writes, engine: LlamaCppEngine) -> None:
    """With the output `special` names stand for control tokens."""
    assert writes(SPECIAL, "Hi<|return|>", before=THOUGHT + ANSWER).text == THOUGHT + ANSWER + "Hi"
    model = engine._model
    assert model.tokenize_written("<|end|>", named=True) == model.tokenize("<|end|>")


def test_a_tokenizer_that_puts_a_blank_before_a_text_is_kept_from_it(
    engine: LlamaCppEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Llama 2 does: the tokens of a text to go on from spell the text, with or without a blank of its own."""
    model = engine._model
    tokenize = model._tokenize
    monkeypatch.setattr(model, "_tokenize", lambda text, **how: tokenize(" " + text, **how))
    for text in ("one two", " one", "\n\nab", "aa", "."):
        assert b"".join(map(model.piece, model.tokenize_written(text, named=False))) == text.encode()
    monkeypatch.setattr(model, "_tokenize", lambda text, **how: tokenize(text.lower(), **how))
    with pytest.raises(BadRequestError, match="this model cannot write it") as raised:
        model.tokenize_written("One", named=False)
    assert raised.value.details["param"] == "resume.text"
