"""How does what vLLM gives become the answer of one sequence?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from golek_wire.errors import InternalError
from golek_wire.replies import FinishReason
from golek_worker.engine import parsing
from golek_worker.engine.base import Finished, Piece, Submit
from golek_worker.engine.logprobs import Scores, are_wanted
from golek_worker.engine.vllm.vocabulary import Vocabulary
from golek_worker.engine.writing import Writing

_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length", "repetition": "stop"}


class Text:
    """What one sequence has written."""

    def __init__(self, vocabulary: Vocabulary, command: Submit, tokens_in: int, tokens_out: int) -> None:
        """`tokens_out` were written before."""
        params = command.params
        self._job_id = command.job_id
        self._writing = Writing(vocabulary, command)
        self._scores = Scores(vocabulary, params, command.output) if are_wanted(params) else None
        self._ends = vocabulary.ends.union(params.stop_token_ids)
        self._tokens_in = tokens_in
        self.tokens_out = tokens_out
        """Of the whole answer."""
        self.reason: FinishReason | None = None
        """Why it ended, once it has."""
        self.cached = 0
        """Tokens of the prompt that were in the cache."""
        self._metrics: Any = None

    @property
    def is_scored(self) -> bool:
        """Whether log-probabilities are wanted."""
        return self._scores is not None

    def take(self, output: Any) -> Piece:
        """What may be shown of vLLM's next output. Raises InternalError where vLLM gave the sequence up."""
        (completion,) = output.outputs
        self._metrics = output.metrics
        if output.num_cached_tokens:
            self.cached = min(output.num_cached_tokens, self._tokens_in)
        ended = completion.finish_reason
        tokens: Sequence[int] = completion.token_ids
        if ended == "stop" and tokens and tokens[-1] in self._ends:
            tokens = tokens[:-1]
        shown: Piece = ""
        for at, token in enumerate(tokens):
            if self._scores is not None:
                self._score(self._scores, token, completion.logprobs[at])
            piece = self._writing.write(token)
            self.tokens_out += 1
            shown = parsing.together(shown, piece) if shown else piece
            if self._writing.ended:
                return self._end(shown, "stop")
        if ended is None:
            return shown if self._scores is None else self._scores.join(shown)
        if ended not in _REASONS:
            raise InternalError(f"vLLM gave the sequence up after {self.tokens_out} tokens: {ended}")
        return self._end(shown, _REASONS[ended])

    def finished(self) -> Finished:
        """Its end, by itself."""
        assert self.reason is not None
        scores, writing = self._scores, self._writing
        return Finished(
            self._job_id,
            writing.text,
            writing.reason(self.reason),
            self._tokens_in,
            self.tokens_out,
            writing.reasoning_content,
            writing.tool_calls,
            logprobs=None if scores is None else scores.shown,
            logprob_sum=0.0 if scores is None else scores.sum,
            tokens_cached=self.cached,
            stopped_by=writing.stopped_by,
            **_times(self._metrics),
        )

    def _end(self, shown: Piece, reason: FinishReason) -> Piece:
        self.reason = reason
        shown = self._writing.end(shown)
        return shown if self._scores is None else self._scores.join(shown)

    def _score(self, scores: Scores, token: int, likely: Any) -> None:
        """vLLM gives the likeliest tokens, and the one that was drawn beside them."""
        scores.note(
            token,
            likely[token].logprob,
            lambda: sorted(
                ((t, one.logprob) for t, one in likely.items() if one.rank <= scores.top), key=lambda pair: -pair[1]
            ),
        )


def _times(metrics: Any) -> dict[str, float]:
    """Milliseconds, by EngineCore's clock."""
    if metrics is None or not metrics.first_token_ts:
        return {}
    return {
        "waited_ms": (metrics.scheduled_ts - metrics.queued_ts) * 1000.0,
        "prefill_ms": (metrics.first_token_ts - metrics.scheduled_ts) * 1000.0,
        "decode_ms": (metrics.last_token_ts - metrics.first_token_ts) * 1000.0,
    }
