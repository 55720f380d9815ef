"""What does the engine know of one job?

It waits for a slot, reads its prompt there, and writes. What it writes goes through its `Writing`, what it draws comes
from its `Sampler`; all else is counting.
"""

from __future__ import annotations

from collections.abc import Sequence as Listed
from typing import TYPE_CHECKING

from golek_wire.replies import FinishReason
from golek_worker.engine.base import Finished, Piece, Submit
from golek_worker.engine.llamacpp.adapters import Adapter
from golek_worker.engine.llamacpp.cache import Kept, key_of
from golek_worker.engine.llamacpp.sampling import Sampler
from golek_worker.engine.writing import Writing

if TYPE_CHECKING:
    from golek_worker.engine.llamacpp.eyes import Image

NO_SLOT = -1


class Sequence:
    """A job inside the engine. All times are seconds of `time.monotonic`."""

    __slots__ = (
        "adapter",
        "admitted_at",
        "began_at",
        "drawn",
        "given",
        "images",
        "job_id",
        "key",
        "leader",
        "limit",
        "position",
        "sampler",
        "shared",
        "slot",
        "stream",
        "submitted_at",
        "tokens_cached",
        "tokens_in",
        "tokens_out",
        "writing",
    )

    def __init__(
        self,
        command: Submit,
        given: list[int],
        tokens_in: int,
        sampler: Sampler,
        writing: Writing,
        now: float,
        images: Listed[Image] = (),
    ) -> None:
        self.job_id = command.job_id
        self.stream = command.stream
        self.adapter: Adapter | None = None
        self.given = given
        """What is read before the next token can be drawn: the prompt, and what was written before."""
        self.images = images
        """Those of the prompt, in their order."""
        self.key = key_of(given)
        self.drawn: list[int] = []
        """The tokens written behind them."""
        self.tokens_in = tokens_in
        """Tokens of the prompt alone."""
        self.tokens_cached = 0
        """Of `given`: found in the cache."""
        self.sampler = sampler
        self.writing = writing
        self.slot = NO_SLOT
        self.position = 0
        """Tokens that its slot holds."""
        self.leader: Sequence | None = None
        """Another one that reads the same prompt …"""
        self.shared = 0
        """… of which this one will take so many tokens."""
        self.tokens_out = 0
        """Tokens of the whole answer, those written before included."""
        self.limit = 0
        """Tokens that the whole answer may have."""
        self.submitted_at = now
        self.admitted_at = 0.0
        """When it got its slot."""
        self.began_at = 0.0
        """When its first token was drawn."""

    @property
    def last_token(self) -> int:
        """The one that the next step computes."""
        return self.drawn[-1]

    @property
    def kept(self) -> Kept:
        """What its slot holds."""
        return Kept((self.key + key_of(self.drawn))[: 4 * self.position], self.position, self.adapter, self.end)

    @property
    def end(self) -> int:
        """Where llama.cpp puts the token behind those that its slot holds."""
        return self.place(self.position) if self.images else self.position

    def place(self, position: int) -> int:
        """Where llama.cpp puts the token at `position`, which is not inside an image."""
        return position - sum(image.tokens - image.span for image in self.images if image.stop <= position)

    def whole(self, tokens: int) -> int:
        """As many of `tokens` as end with no part of an image: what is behind a part could not be placed."""
        return next((image.start for image in self.images if image.start < tokens < image.stop), tokens)

    @property
    def image(self) -> Image | None:
        """The next one to be read, or of which a part was."""
        return next((image for image in self.images if self.position < image.stop), None)

    @property
    def stretch(self) -> int:
        """Tokens that can be read in one call, for all are text or of one image."""
        image = self.image
        if image is None:
            return len(self.given) - self.position
        return (image.start if self.position < image.start else image.stop) - self.position

    def write(self, token: int) -> tuple[Piece, FinishReason | None]:
        """Append a token: what may be shown, and why the sequence ends if it does."""
        self.drawn.append(token)
        self.tokens_out += 1
        piece = self.writing.write(token)
        if self.writing.ended:
            return self.writing.end(piece), "stop"
        if self.tokens_out >= self.limit:
            return self.writing.end(piece), "length"
        return piece, None

    def finished(self, reason: FinishReason, now: float) -> Finished:
        """Its end, by itself."""
        scores = self.sampler.scores
        return Finished(
            self.job_id,
            self.writing.text,
            self.writing.reason(reason),
            self.tokens_in,
            self.tokens_out,
            self.writing.reasoning_content,
            self.writing.tool_calls,
            logprobs=None if scores is None else scores.shown,
            logprob_sum=0.0 if scores is None else scores.sum,
            tokens_cached=min(self.tokens_cached, self.tokens_in),
            waited_ms=(self.admitted_at - self.submitted_at) * 1000.0,
            prefill_ms=(self.began_at - self.admitted_at) * 1000.0,
            decode_ms=(now - self.began_at) * 1000.0,
            stopped_by=self.writing.stopped_by,
        )
