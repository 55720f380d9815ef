"""How is what was given to a sequence read?

Text as tokens, in calls as long as a step has time for; an image as the rows that the model's eyes made of it, in calls
of their own. Until these are there, its sequence waits and others go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import monotonic
from typing import TYPE_CHECKING

from golek_worker.engine.base import Submit
from golek_worker.engine.llamacpp.context import Context
from golek_worker.engine.llamacpp.model import Model
from golek_worker.engine.llamacpp.scheduler import read_chunks, read_seconds
from golek_worker.engine.llamacpp.sequence import Sequence as Reading

if TYPE_CHECKING:
    from golek_worker.engine.llamacpp.eyes import Image

OPERATIONS_PER_S = 25e9
"""Of one core, as a first guess; two for each parameter and token. It is measured from then on."""
LATEST = 0.3
"""Weight of the latest measurement."""
TELLING = 16
"""Tokens; of fewer the time is that of the call, not theirs."""


class Reader:
    """Reads in one context."""

    def __init__(self, context: Context, parameters: int, threads: int) -> None:
        self._context = context
        self._token_s = 2 * parameters / threads / OPERATIONS_PER_S

    def chunks(self, readers: Sequence[Reading], writers: int) -> Iterator[tuple[Reading, int]]:
        """What to read in a step: so many tokens of each; it may be less when llama.cpp is slower than before."""
        seconds = read_seconds(len(readers), writers)
        deadline = monotonic() + seconds
        for index, tokens in read_chunks([s.stretch for s in readers], int(seconds / self._token_s)):
            reader = readers[index]
            image = reader.image
            if image is not None and image.is_whole and reader.position >= image.start:
                tokens = image.tokens  # noqa: PLW2901 - all of it, whatever there was time for
            yield reader, tokens
            if monotonic() >= deadline or (image is not None and image.is_whole):
                return

    def read(self, sequence: Reading, tokens: int) -> bool:
        """So many tokens; True after the last one. Raises BadRequestError for an image that cannot be computed."""
        start = sequence.position
        stop = start + tokens
        ends = stop == len(sequence.given)
        image = sequence.image
        if image is not None and image.start <= start:
            took_s = self._see(sequence, image, start, stop, gives=ends)
        else:
            place = sequence.end
            outputs = [False] * tokens
            outputs[-1] = ends
            took_s = self._context.decode(
                sequence.given[start:stop], list(range(place, place + tokens)), [sequence.slot] * tokens, outputs
            )
        if tokens >= TELLING:
            self._token_s += LATEST * (took_s / tokens - self._token_s)
        sequence.position = stop
        return ends

    def _see(self, sequence: Reading, image: Image, start: int, stop: int, *, gives: bool) -> float:
        positions = image.positions(sequence.place(image.start), start, stop)
        rows = image.rows(start, stop)
        return self._context.see(rows, positions, sequence.slot, gives=gives, is_whole=image.is_whole)


def is_seen(sequence: Reading) -> bool:
    """Whether the sequence can read on: not while the image that comes next is being computed."""
    image = sequence.image
    return image is None or image.begin() or sequence.position < image.start


def written(model: Model, command: Submit) -> list[int]:
    """The tokens of the answer that are there already. Raises BadRequestError for a text that it cannot write."""
    if command.resume is None:
        return []
    opening = model.tokenize_written(command.output.opening, named=True) if command.output.opening else []
    return opening + model.tokenize_written(command.resume.text, named=command.output.form == "special")
