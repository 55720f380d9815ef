"""How likely does a model find an answer that it was made to give?

A log-probability is told of the model's own logits. vLLM forbids what a grammar does not allow in just these logits,
before it takes the log-probabilities from them: where a grammar leaves one token, that has probability 1. Here they are
kept as they were, and the log-probabilities are taken from what was kept.
"""

from __future__ import annotations

import contextlib
from typing import Any


class Kept:
    """The logits of the latest step that were changed, as they were before."""

    def __init__(self) -> None:
        self._changed: Any = None
        self._own: Any = None

    def keep(self, logits: Any) -> None:
        """`logits` will be changed in place."""
        self._changed, self._own = logits, logits.clone()

    def own(self, logits: Any) -> Any:
        """What `logits` were, once; itself where nothing was kept of it."""
        if logits is not self._changed:
            return logits
        own, self._changed, self._own = self._own, None, None
        return own


def mend() -> None:
    """Change vLLM's samplers in this process."""
    _mend_first()
    with contextlib.suppress(ImportError):  # the second runner computes on GPUs alone
        _mend_second()


def _mend_first() -> None:
    from vllm.v1.sample.sampler import Sampler
    from vllm.v1.worker import gpu_model_runner as runner

    kept, forbidding, scoring = Kept(), runner.apply_grammar_bitmask, Sampler.compute_logprobs

    def forbid(scheduled: Any, grammar: Any, batch: Any, logits: Any) -> None:
        if batch.num_logprobs:
            kept.keep(logits)
        forbidding(scheduled, grammar, batch, logits)

    runner.apply_grammar_bitmask = forbid
    Sampler.compute_logprobs = staticmethod(lambda logits: scoring(kept.own(logits)))


def _mend_second() -> None:
    from vllm.v1.worker.gpu.sample import sampler
    from vllm.v1.worker.gpu.structured_outputs import StructuredOutputsWorker

    kept, forbidding, scoring = Kept(), StructuredOutputsWorker.apply_grammar_bitmask, sampler.compute_topk_scores

    def forbid(worker: Any, logits: Any, *args: Any, **named: Any) -> None:
        kept.keep(logits)
        forbidding(worker, logits, *args, **named)

    StructuredOutputsWorker.apply_grammar_bitmask = forbid
    sampler.compute_topk_scores = lambda logits, *args, **named: scoring(kept.own(logits), *args, **named)
