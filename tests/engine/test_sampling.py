"""What each wish for a draw does, held against numpy: the shipped demo model in this process.

Every draw is seen with the logits it was made from, so nothing depends on what the model has learnt.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from golek_wire.errors import BadRequestError
from golek_wire.replies import Delta, TokenLogprob
from golek_wire.requests import Params
from golek_worker.engine.base import Constraint, EngineConfig, Finished, Refused, Submit
from golek_worker.engine.llamacpp.context import Context
from golek_worker.engine.llamacpp.engine import LlamaCppEngine
from golek_worker.engine.llamacpp.logprobs import scores
from golek_worker.engine.llamacpp.model import Model
from golek_worker.engine.llamacpp.sampling import Sampler
from golek_worker.engine.writing import Writing
from golek_worker.output import Output
from tests.engine.tiny import MODEL, engine_of

PROMPT = "zq queues zq queues zq"
OPEN = {"temperature": 4.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "ignore_eos": True, "max_tokens": 24}
"""Draws from all tokens, none of them likely."""
Logits = NDArray[np.float32]


class Bench:
    """One engine, and every draw it makes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, engine: LlamaCppEngine) -> None:
        self.engine = engine
        self.model = engine._model
        self.draws: dict[Sampler, list[tuple[Logits, int]]] = {}
        self.deltas: list[str | Delta] = []
        sample = Sampler.sample

        def recording(sampler: Sampler, context: Context, row: int) -> int:
            logits = np.ctypeslib.as_array(context.logits(row), (self.model.n_vocab,)).copy()
            token = sample(sampler, context, row)
            self.draws.setdefault(sampler, []).append((logits, token))
            return token

        monkeypatch.setattr(Sampler, "sample", recording)

    def run(self, *wishes: dict[str, Any], grammar: str = "", prompt: str = PROMPT) -> list[Finished]:
        """The ends of sequences with these params, run together."""
        constraint = Constraint("gbnf", grammar) if grammar else None
        self.draws.clear()
        self.deltas.clear()
        for i, params in enumerate(wishes):
            submit = Submit(f"{i}", prompt, Params(**params), 11, stream=True, constraint=constraint)
            assert self.engine.submit(submit) is None
        ends = []
        while self.engine.running:
            for event in self.engine.step():
                if isinstance(event, tuple):
                    self.deltas.append(event[1])
                else:
                    assert isinstance(event, Finished), event
                    ends.append(event)
        return sorted(ends, key=lambda end: int(end.job_id))

    def drawn(self, **params: Any) -> list[tuple[Logits, int]]:
        """The draws of one sequence, from logits without those of an end."""
        self.run(OPEN | params)
        (draws,) = self.draws.values()
        for logits, _ in draws:
            logits[list(self.model.ends)] = -np.inf
        return draws


@pytest.fixture(scope="module")
def engine() -> Iterator[LlamaCppEngine]:
    """The demo model in four slots."""
    with engine_of(4, 512) as engine:
        yield engine


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, engine: LlamaCppEngine) -> Bench:
    return Bench(monkeypatch, engine)


def softmax(logits: Logits) -> NDArray[np.float64]:
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return np.asarray(weights / weights.sum())


# -- which tokens are left -------------------------------------------------------------------------------------


def kept_by_top_p(logits: Logits, p: float) -> set[int]:
    order = np.argsort(-logits)
    return set(order[: int(np.searchsorted(np.cumsum(softmax(logits)[order]), p)) + 1].tolist())


def kept_by_typical(logits: Logits, p: float) -> set[int]:
    share = softmax(logits)
    surprise = -np.log(np.maximum(share, 1e-300))
    order = np.argsort(np.abs(surprise - (share * surprise).sum()))
    return set(order[: int(np.searchsorted(np.cumsum(share[order]), p, side="right")) + 1].tolist())


def kept_by_xtc(logits: Logits, threshold: float) -> set[int]:
    share = softmax(logits)
    above = [t for t in np.argsort(-share) if share[t] >= threshold]
    return set(range(len(logits))) - {int(t) for t in above[:-1]}


def test_each_option_leaves_what_it_says(bench: Bench) -> None:
    """No draw lies outside what numpy leaves of the same logits; and without the option some would."""
    open_draws = bench.drawn()
    kept = {
        ("top_k", 5): lambda x: set(np.argsort(-x)[:5].tolist()),
        ("top_p", 0.4): lambda x: kept_by_top_p(x, 0.4),
        ("min_p", 0.2): lambda x: set(np.flatnonzero(softmax(x) >= 0.2 * softmax(x).max()).tolist()),
        ("typical_p", 0.3): lambda x: kept_by_typical(x, 0.3),
        ("top_n_sigma", 1.0): lambda x: set(np.flatnonzero(x >= x.max() - x[np.isfinite(x)].std() * 1.0001).tolist()),
    }
    for (name, value), rule in kept.items():
        assert all(token in rule(logits) for logits, token in bench.drawn(**{name: value})), name
        assert not all(token in rule(logits) for logits, token in open_draws), name


def test_xtc_drops_the_likeliest(bench: Bench) -> None:
    """All above the threshold but the least likely of them, each time at probability 1 and never at 0."""
    always = bench.drawn(temperature=1.0, xtc_probability=1.0, xtc_threshold=0.02)
    assert all(token in kept_by_xtc(logits, 0.02) for logits, token in always)
    never = bench.drawn(temperature=1.0, xtc_probability=0.0, xtc_threshold=0.02)
    assert not all(token in kept_by_xtc(logits, 0.02) for logits, token in never)


@pytest.mark.parametrize("version", [1, 2])
def test_mirostat_keeps_the_surprise(bench: Bench, version: int) -> None:
    """A higher tau writes more surprising text; what cuts candidates otherwise has no say."""

    def surprise(**params: Any) -> float:
        draws = bench.drawn(temperature=1.0, max_tokens=96, mirostat=version, mirostat_eta=0.5, top_k=1, **params)
        return float(np.mean([-np.log2(softmax(logits)[token]) for logits, token in draws]))

    assert surprise(mirostat_tau=0.1) + 0.5 < surprise(mirostat_tau=6.0)


# -- what changes logits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("last_n", [4, 16, -1, 0])
def test_greedy_takes_the_largest_behind_penalties_and_biases(bench: Bench, last_n: int) -> None:
    """Also of the prompt's tokens, as far back as `repeat_last_n` says."""
    repeat, frequency, presence = 1.3, 0.7, 0.4
    prompt = bench.model.tokenize(PROMPT)
    biased = prompt[-1]
    draws = bench.drawn(
        temperature=0.0, repeat_penalty=repeat, frequency_penalty=frequency, presence_penalty=presence,
        repeat_last_n=last_n, logit_bias={str(biased): 3.0}, max_tokens=32,
    )  # fmt: skip
    seen = list(prompt)
    for logits, token in draws:
        logits[biased] += 3.0
        recent = seen[-last_n:] if last_n > 0 else seen if last_n < 0 else []
        for other in set(recent):
            logits[other] *= repeat if logits[other] <= 0 else 1 / repeat
            logits[other] -= recent.count(other) * frequency + presence
        assert token == logits.argmax()
        seen.append(token)


def test_dry_breaks_a_loop_of_the_prompt(bench: Bench) -> None:
    """A token that would go on with a repetition is not drawn, unless a breaker stands in it or it is short enough."""
    prompt = bench.model.tokenize(PROMPT)
    again = prompt[prompt.index(prompt[-1]) + 1]
    wish = {"temperature": 0.0, "max_tokens": 1, "logit_bias": {str(again): 80.0}}
    dry = {"dry_multiplier": 100.0, "dry_allowed_length": 1}

    def first(**params: Any) -> int:
        return bench.drawn(**wish, **params)[0][1]

    assert first() == again
    assert first(**dry) != again
    assert first(**dry, dry_sequence_breakers=[]) != again
    assert first(**dry, dry_sequence_breakers=["zq"]) == again
    assert first(**dry | {"dry_allowed_length": 50}) == again
    assert first(**dry, dry_penalty_last_n=1) == again
    assert first(**dry, dry_penalty_last_n=0) == again


def test_a_bias_forbids_or_forces(bench: Bench) -> None:
    """-100 is never drawn, however likely; +100 always."""
    (_, likeliest), *_ = bench.drawn(temperature=0.0)
    draws = bench.drawn(temperature=0.0, logit_bias={str(likeliest): -100})
    assert likeliest not in [token for _, token in draws]
    assert {token for _, token in bench.drawn(logit_bias={"77": 100})} == {77}


def test_stop_tokens_end_the_text_and_are_not_part_of_it(bench: Bench) -> None:
    """With the reason `stop`, also beside ignore_eos."""
    plain = bench.drawn(temperature=0.0)
    tokens = [token for _, token in plain]
    stop = tokens[-1]
    (end,) = bench.run(OPEN | {"temperature": 0.0, "stop_token_ids": [stop]})
    assert (end.finish_reason, end.tokens_out) == ("stop", tokens.index(stop))
    written = b"".join(map(bench.model.piece, tokens[: tokens.index(stop)]))
    assert end.text == written.decode(errors="ignore")


@pytest.mark.parametrize("wish", [{"logit_bias": {"9999999": 1.0}}, {"stop_token_ids": [9999999]}])
def test_a_token_that_does_not_exist_is_refused(bench: Bench, wish: dict[str, Any]) -> None:
    """The error names it, and how many there are."""
    with pytest.raises(BadRequestError, match=f"9999999.*{bench.model.n_vocab}") as raised:
        bench.run(wish)
    assert raised.value.details["param"] == f"params.{next(iter(wish))}"
    assert bench.engine.running == 0


def test_a_bias_cannot_forbid_everything(bench: Bench) -> None:
    """Something must be drawn; also where ignore_eos forbids the rest."""
    others = [t for t in range(bench.model.n_vocab) if t not in bench.model.ends]
    with pytest.raises(BadRequestError, match="forbids all"):
        bench.run({"logit_bias": {str(t): -100.0 for t in others}, "ignore_eos": True})


@pytest.mark.parametrize("temperature", [1e-300, 1e-38, 1e-29])
def test_the_coldest_draw_is_greedy(bench: Bench, temperature: float) -> None:
    """No number is so small that it divides a logit into nonsense."""
    assert bench.run(OPEN | {"temperature": temperature})[0].text == bench.run(OPEN | {"temperature": 0.0})[0].text


# -- beside each other -----------------------------------------------------------------------------------------

MIXED: list[dict[str, Any]] = [
    {"xtc_probability": 0.5, "xtc_threshold": 0.01},
    {"mirostat": 1},
    {"mirostat": 2, "mirostat_tau": 3.0},
    {"dry_multiplier": 1.5, "dry_allowed_length": 1, "temperature": 1.0},
    {"repeat_penalty": 1.4, "repeat_last_n": -1, "logprobs": True},
    {"temperature": 0.0},
    {"typical_p": 0.5, "top_n_sigma": 2.0},
    {"frequency_penalty": 1.0, "logit_bias": {"99": 4.0}},
]


def test_no_state_leaks_between_samplers() -> None:
    """Eight samplers with different wishes, drawing in turn from the same logits, draw what each draws alone."""
    model = Model(EngineConfig("llamacpp", str(MODEL), 1, 256, 1), lambda done, total: None)
    context = Context(model, 1, 256, 1, 8)
    prompt = model.tokenize(PROMPT)[:8]
    rows = len(prompt)
    context.decode(prompt, list(range(rows)), [0] * rows, [False] * (rows - 1) + [True])

    def drawn(*wishes: dict[str, Any]) -> list[list[int]]:
        samplers = [Sampler(model, Params(**OPEN | wish), 11, prompt) for wish in wishes]
        texts = [[s.sample(context, rows - 1) for s in samplers] for _ in range(64)]
        for sampler in samplers:
            sampler.close()
        return [list(tokens) for tokens in zip(*texts, strict=True)]

    alone = [drawn(wish)[0] for wish in MIXED]
    assert drawn(*MIXED) == alone
    assert drawn(*reversed(MIXED)) == alone[::-1]
    assert len({tuple(tokens) for tokens in alone}) > len(alone) // 2
    context.close()
    model.close()


# -- constraints -----------------------------------------------------------------------------------------------


def test_a_constraint_is_followed_whatever_else_shapes_the_draw(bench: Bench) -> None:
    """Refused draws are made again among what is allowed, with every kind of sampler."""
    wishes = [OPEN | {"max_tokens": 60} | wish for wish in [*MIXED, {"top_k": 1}, {"temperature": 100.0}]]
    for end in bench.run(*wishes, grammar='root ::= ("a" | "bc") [0-9] [0-9]'):
        assert end.finish_reason == "stop"
        assert end.text[-2:].isdigit()
        assert end.text[:-2] in ("a", "bc")


def test_a_constraint_that_biases_leave_nothing_of_is_told(bench: Bench) -> None:
    """A 400 instead of a token that is not allowed, of which llama.cpp would die."""
    forbidden = {str(t): -100 for t in range(bench.model.n_vocab) if b"y".startswith(bench.model.piece(t)[:1] or b"-")}
    submit = Submit("j", PROMPT, Params(logit_bias=forbidden), 1, constraint=Constraint("gbnf", 'root ::= "y"'))
    assert bench.engine.submit(submit) is None
    (end,) = [event for event in bench.engine.step() if isinstance(event, Refused)]
    assert "logit_bias" in end.message
    assert end.details["param"] == "params.grammar"


# -- log-probabilities -----------------------------------------------------------------------------------------


def test_logprobs_are_of_the_models_own_logits(bench: Bench) -> None:
    """Before penalties, biases and temperature; the likeliest ones beside them, largest first."""
    wish = {"temperature": 1.5, "repeat_penalty": 1.5, "logit_bias": {"300": 2.0}, "logprobs": True, "top_logprobs": 3}
    (end,) = bench.run(OPEN | wish)
    ((*draws,),) = bench.draws.values()
    told = iter(end.logprobs or [])
    total = 0.0
    for logits, token in draws:
        logprobs = np.log(softmax(logits))
        total += logprobs[token]
        if not bench.model.piece(token):
            continue
        entry = next(told)
        assert entry.logprob == pytest.approx(logprobs[token], abs=1e-4)
        assert (entry.id, bytes(entry.bytes)) == (token, bench.model.piece(token))
        best = np.argsort(-logits)[:3]
        assert [top.id for top in entry.top_logprobs] == best.tolist()
        assert [top.logprob for top in entry.top_logprobs] == pytest.approx(logprobs[best].tolist(), abs=1e-4)
        assert [bytes(top.bytes) for top in entry.top_logprobs] == [bench.model.named_piece(t) for t in best]
    assert end.logprob_sum == pytest.approx(total, abs=1e-3)


def streamed(deltas: list[str | Delta]) -> list[TokenLogprob]:
    return [entry for delta in deltas if isinstance(delta, Delta) for entry in delta.logprobs or []]


@pytest.mark.parametrize("temperature", [0.0, 3.0])
def test_logprobs_come_with_their_text(bench: Bench, temperature: float) -> None:
    """At each place the tokens told so far spell at least the text shown so far; joined they are the final list."""
    (plain,) = bench.run(OPEN | {"temperature": temperature, "max_tokens": 64})
    cut = plain.text[len(plain.text) // 2 :][:5]
    for stops in ([], [cut], [cut + "\x01", plain.text[-4:] + "\x01", " "]):
        (end,) = bench.run(OPEN | {"temperature": temperature, "max_tokens": 64, "logprobs": True, "stop": stops})
        shown, told = "", 0
        for delta in bench.deltas:
            assert isinstance(delta, Delta)
            shown += delta.text
            told += len(delta.logprobs or [])
            spelt = b"".join(bytes(entry.bytes) for entry in streamed(bench.deltas)[:told])
            assert spelt.decode(errors="replace").startswith(shown.rstrip("\ufffd"))
        assert shown == end.text
        assert streamed(bench.deltas) == end.logprobs


def test_tokens_of_a_stop_string_are_not_told(bench: Bench) -> None:
    """The last one told is the last that wrote some of the text."""
    (plain,) = bench.run(OPEN | {"temperature": 0.0, "logprobs": True})
    tokens = [entry.token for entry in plain.logprobs or []]
    stop = "".join(tokens[8:11])
    (end,) = bench.run(OPEN | {"temperature": 0.0, "logprobs": True, "stop": [stop]})
    at = plain.text.index(stop)
    assert "".join(entry.token for entry in end.logprobs or []) == plain.text[:at]


def test_nothing_is_told_unasked(bench: Bench) -> None:
    """Plain text in the stream, and no list at the end; but a sum where texts are ranked."""
    plain, ranked = bench.run(OPEN, OPEN | {"best_of": 2})
    assert plain.logprobs is None
    assert plain.logprob_sum == 0.0
    assert ranked.logprobs is None
    assert ranked.logprob_sum < 0.0
    assert all(isinstance(delta, str) for delta in bench.deltas)


@pytest.mark.parametrize(
    ("output", "written", "text"),
    [
        (Output("marked", think=("<think>", "</think>")), "<think>hi the end</think>\n\nthe end, hi", "the end, hi"),
        (Output("marked", think=("<think>", "</think>"), begun="<think>"), "a b</think>a b", "a b"),
        (Output("marked", calls="tool_call"), 'So: <tool_call>{"name": "f", "arguments": {}}</tool_call>', "So:"),
        (Output("text"), "<think>hi</think>", "<think>hi</think>"),
    ],
)
def test_tokens_of_thoughts_and_calls_are_not_told(bench: Bench, output: Output, written: str, text: str) -> None:
    """Only those of the text, in its order; marks are plain text for this model, the hardest case."""
    params = Params(logprobs=True, stop=["ennnd"])
    command = Submit("j", "p", params, 1, output=output)
    found = scores(bench.model, command)
    assert found is not None
    writing = Writing(bench.model, command)
    logits = np.zeros(bench.model.n_vocab, np.float32)
    told = []
    for token in bench.model.tokenize_written(written, named=False):
        found.add(logits, token)
        told.append(found.join(writing.write(token)))
    told.append(found.join(writing.end()))
    assert writing.text == text
    assert b"".join(bytes(entry.bytes) for entry in found.shown or []).decode().strip() == text
    assert streamed(told) == found.shown
