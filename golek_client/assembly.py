"""Which text of a stream may be handed out?

Chunks can come twice (a worker died and another starts the text again), late (from the worker that was thought dead) or
not at all (the connection broke). `TextAssembly` takes them as they come and gives out a text that only ever grows and
in the end equals the final message's. No I/O, no clock.
"""

from golek_wire.errors import StreamInterruptedError


class TextAssembly:
    """The text of one stream, from the chunks of one or more attempts of one job.

    A job that resumes is given the text `before`: its attempts begin behind it, its final text with it. Without
    `replay` a newer attempt is not compared with what was handed out: it interrupts at once.

    Whatever arrives, the parts returned by `chunk` and `finish`, joined, are a prefix of the final text or the whole of
    it; where that cannot be kept, StreamInterruptedError is raised with `details.text_so_far`.
    """

    __slots__ = ("_at", "_attempt", "_before", "_gap", "_handed", "_length", "_next_seq", "_replay", "_replayed")

    def __init__(self, before: str = "", *, replay: bool = True) -> None:
        self._handed = [before]
        self._length = self._before = len(before)
        self._replay = replay
        self._attempt = 1
        self._next_seq = 0
        self._gap = False
        # The text handed out when the current attempt began, and how far that attempt has repeated it.
        self._replayed = ""
        self._at = 0

    @property
    def text(self) -> str:
        """Everything handed out so far, with what was there before."""
        return "".join(self._handed)

    def chunk(self, attempt: int, seq: int, delta: str) -> str:
        """What to hand out after this chunk, often `delta`, sometimes nothing.

        1. An older attempt's chunk is late: nothing. 2. A newer attempt starts the text again. 3. A chunk was lost
        before this one: nothing until `finish`, which knows the whole text. 4. A chunk comes again: a broker that was
        killed forgot a delivery, and two workers write one attempt, whose chunks are not cut alike: as 3. 5. Text that
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
        return self._hand_out(self._swallow(delta))  # 5, 6

    def finish(self, text: str) -> str:
        """The part of the final `text` that was not handed out yet."""
        so_far = self.text
        if not text.startswith(so_far):
            raise self._interrupted("the final text differs from what was streamed")
        return self._hand_out(text[len(so_far) :])

    @property
    def grew(self) -> bool:
        """Whether anything was handed out."""
        return self._length > self._before

    def _restart(self, attempt: int) -> None:
        if self.grew and not self._replay:
            raise self._interrupted(f"attempt {attempt} would begin again")
        self._attempt = attempt
        self._next_seq = 0
        self._gap = False
        self._replayed = self.text[self._before :]
        self._at = 0

    def _swallow(self, delta: str) -> str:
        """`delta` without the part that repeats what an earlier attempt wrote."""
        known = self._replayed[self._at : self._at + len(delta)]
        if not delta.startswith(known):
            raise self._interrupted(f"attempt {self._attempt} wrote another text after {self._at} characters")
        self._at += len(known)
        return delta[len(known) :]

    def _hand_out(self, part: str) -> str:
        if part:
            self._handed.append(part)
            self._length += len(part)
        return part

    def _interrupted(self, reason: str) -> StreamInterruptedError:
        return StreamInterruptedError(
            f"The stream lost its worker and {reason}; {self._length} characters had been handed out",
            text_so_far=self.text,
            attempt=self._attempt,
        )
