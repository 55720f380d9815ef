"""What of a stream may be handed out?

Chunks can come twice (a worker died and another starts the answer again), late (from the worker that was thought dead)
or not at all (the connection broke). `TextAssembly` takes them as they come and gives out an answer that only ever
grows and in the end equals the final message's. No I/O, no clock.
"""

import msgspec

from golek_client.growth import Growth, OtherTextError, Parts
from golek_wire.errors import StreamInterruptedError
from golek_wire.replies import Delta, InferenceReply


class TextAssembly:
    """The answer of one stream, from the chunks of one or more attempts of one job.

    A job that resumes is given the text `before`: its attempts begin behind it, its final text with it. Where the job
    before it handed out `thoughts`, those count and its own are left out. Without `replay` a newer attempt is not
    compared with what was handed out: it interrupts at once.

    A piece is a `str` where it is only text of the first choice, as nearly all are, else a `Delta`. Whatever arrives,
    what `chunk` and `finish` return, joined, is a prefix of the final answer or the whole of it, for each choice its
    text, thoughts, calls and log-probabilities alike; where that cannot be kept, StreamInterruptedError is raised with
    `details.text_so_far`, the first choice's text.
    """

    __slots__ = ("_attempt", "_first", "_gap", "_next_seq", "_others", "_replay", "_thoughts")

    def __init__(self, before: str = "", thoughts: str = "", *, replay: bool = True) -> None:
        self._first = Growth(before)
        self._thoughts = thoughts
        self._others: dict[int, Parts] = {}
        """By choice, once there was more of it than text of the first."""
        self._replay = replay
        self._attempt = 1
        self._next_seq = 0
        self._gap = False

    @property
    def text(self) -> str:
        """The first choice's text handed out so far, with what was there before."""
        return self._first.whole

    def chunk(self, attempt: int, seq: int, piece: str | Delta) -> str | Delta:
        """What to hand out after this chunk, often `piece`, sometimes nothing: an empty string.

        1. An older attempt's chunk is late: nothing. 2. A newer attempt starts the answer again. 3. A chunk was lost
        before this one: nothing until `finish`, which knows the whole. 4. A chunk comes again: a broker that was
        killed forgot a delivery, and two workers write one attempt, whose chunks are not cut alike: as 3. 5. What
        was handed out already is compared and swallowed. 6. The rest is new.
        """
        if attempt < self._attempt:  # 1
            return ""
        if attempt > self._attempt:  # 2
            self._restart(attempt)
        if self._gap or seq != self._next_seq:  # 3, 4
            self._gap = True
            return ""
        self._next_seq += 1
        try:
            if isinstance(piece, str):
                return self._first.add(piece)  # 5, 6
            if self._thoughts:
                piece = msgspec.structs.replace(piece, reasoning_content="")
            return _piece(self._parts(piece.index).add(piece))
        except OtherTextError as error:
            raise self._interrupted(f"attempt {self._attempt} wrote {error}") from None

    def finish(self, text: str) -> str:
        """The part of the final `text` that was not handed out yet."""
        try:
            return self._first.finish(text)
        except OtherTextError:
            raise self._interrupted("the final text differs from what was streamed") from None

    def finish_reply(self, reply: InferenceReply) -> list[str | Delta]:
        """What of the final message was not handed out yet."""
        if self._thoughts:
            reply = msgspec.structs.replace(reply, reasoning_content=None)
        has_more = reply.choices or reply.reasoning_content or reply.tool_calls or reply.logprobs
        if not has_more and not self._others:
            return [rest] if (rest := self.finish(reply.text)) else []
        try:
            rests = [self._parts(choice.index).finish(choice) for choice in reply.all_choices]
        except OtherTextError:
            raise self._interrupted("the final answer differs from what was streamed") from None
        return [piece for piece in map(_piece, rests) if piece]

    @property
    def grew(self) -> bool:
        """Whether anything was handed out."""
        return self._first.grew or any(parts.grew for parts in self._others.values())

    @property
    def obstacle(self) -> str | None:
        """Why another job cannot go on behind what was handed out; None when it can."""
        first = self._others.get(0)
        if any(index and parts.grew for index, parts in self._others.items()):
            return "several texts were asked for"
        if first is None:
            return None
        if first.calls:
            return "calls of tools had begun"
        if first.logprobs:
            return "log-probabilities had been handed out"
        if first.reasoning.grew and not self._first.grew:
            return "the model was still thinking"
        return None

    @property
    def reasoning(self) -> str:
        """The first choice's thoughts handed out so far, by this job or the one before it."""
        return self._thoughts or (self._others[0].reasoning.whole if 0 in self._others else "")

    def _parts(self, index: int) -> Parts:
        parts = self._others.get(index)
        if parts is None:
            parts = self._others[index] = Parts(self._first if index == 0 else Growth())
        return parts

    def _restart(self, attempt: int) -> None:
        if self.grew and not self._replay:
            raise self._interrupted(f"attempt {attempt} would begin again")
        self._attempt = attempt
        self._next_seq = 0
        self._gap = False
        self._first.restart()
        for parts in self._others.values():
            parts.restart()

    def _interrupted(self, reason: str) -> StreamInterruptedError:
        return StreamInterruptedError(
            f"The stream lost its worker and {reason}; {len(self.text)} characters had been handed out",
            text_so_far=self.text,
            attempt=self._attempt,
        )


def _piece(delta: Delta) -> str | Delta:
    """`delta`, as text where it is nothing else."""
    if delta.reasoning_content or delta.tool_calls or delta.logprobs or (delta.index and delta.text):
        return delta
    return delta.text
