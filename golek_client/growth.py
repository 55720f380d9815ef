"""How does one part of an answer grow, and how is it repeated?

A text, thoughts, the arguments of a call: each is a string that grows. When an attempt starts again, what it repeats is
compared with what was handed out, and swallowed. Log-probabilities are compared by their tokens: the last bits of the
numbers depend on what ran beside them.
"""

from golek_wire.replies import Choice, Delta, TokenLogprob, ToolCall, ToolCallDelta


class OtherTextError(Exception):
    """An attempt, or the final message, says something else than what was handed out; the message says what."""


class Growth:
    """One string. What is handed out joined, behind what was there `before`, is `whole`."""

    __slots__ = ("_at", "_before", "_handed", "_length", "_replayed")

    def __init__(self, before: str = "") -> None:
        self._handed = [before]
        self._length = self._before = len(before)
        # What was handed out when the current attempt began, and how far that attempt has repeated it.
        self._replayed = ""
        self._at = 0

    @property
    def whole(self) -> str:
        return "".join(self._handed)

    @property
    def grew(self) -> bool:
        """Whether anything was handed out."""
        return self._length > self._before

    def restart(self) -> None:
        """What is added next is written from the beginning again."""
        self._replayed = self.whole[self._before :]
        self._at = 0

    def add(self, part: str) -> str:
        """`part` without what repeats an earlier attempt. Raises OtherTextError."""
        known = self._replayed[self._at : self._at + len(part)]
        if not part.startswith(known):
            raise OtherTextError(f"another text after {self._at} characters")
        self._at += len(known)
        return self._hand_out(part[len(known) :])

    def finish(self, whole: str) -> str:
        """The part of the final string that was not handed out yet. Raises OtherTextError."""
        so_far = self.whole
        if not whole.startswith(so_far):
            raise OtherTextError("another text")
        return self._hand_out(whole[len(so_far) :])

    def _hand_out(self, part: str) -> str:
        if part:
            self._handed.append(part)
            self._length += len(part)
        return part


class Parts:
    """One choice: its text, thoughts, calls of tools and log-probabilities."""

    __slots__ = ("_text", "_told", "calls", "logprobs", "reasoning")

    def __init__(self, text: Growth) -> None:
        self._text = text
        self.reasoning = Growth()
        self.calls: list[_Call] = []
        self.logprobs: list[TokenLogprob] = []
        self._told = 0
        """How many log-probabilities the current attempt has told."""

    @property
    def grew(self) -> bool:
        return self._text.grew or self.reasoning.grew or bool(self.calls or self.logprobs)

    def restart(self) -> None:
        """What is added next is written from the beginning again."""
        self._text.restart()
        self.reasoning.restart()
        for call in self.calls:
            call.arguments.restart()
        self._told = 0

    def add(self, delta: Delta) -> Delta:
        """`delta` without what repeats an earlier attempt. Raises OtherTextError."""
        calls = [new for call in delta.tool_calls or () if (new := self._call(call)) is not None]
        return Delta(
            self._text.add(delta.text),
            self.reasoning.add(delta.reasoning_content),
            calls or None,
            self._logprobs(delta.logprobs or []) or None,
            delta.index,
        )

    def finish(self, choice: Choice) -> Delta:
        """What of the final `choice` was not handed out yet. Raises OtherTextError."""
        final = choice.tool_calls or []
        if len(final) < len(self.calls):
            raise OtherTextError("fewer calls")
        calls = [new for i, call in enumerate(final) if (new := self._finished_call(i, call)) is not None]
        self._told = 0
        logprobs = choice.logprobs or []
        if len(logprobs) < len(self.logprobs):
            raise OtherTextError("fewer tokens")
        return Delta(
            self._text.finish(choice.text),
            self.reasoning.finish(choice.reasoning_content or ""),
            calls or None,
            self._logprobs(logprobs) or None,
            choice.index,
        )

    def _call(self, delta: ToolCallDelta) -> ToolCallDelta | None:
        """What is new of a call; None when nothing is."""
        if delta.index > len(self.calls):
            raise OtherTextError(f"call {delta.index} before call {len(self.calls)}")
        if delta.index == len(self.calls):
            self.calls.append(_Call((delta.id, delta.name)))
            self.calls[-1].arguments.add(delta.arguments)
            return delta
        call = self.calls[delta.index]
        if (delta.id or delta.name) and (delta.id, delta.name) != call.head:
            raise OtherTextError(f"another call {delta.index}")
        rest = call.arguments.add(delta.arguments)
        return ToolCallDelta(delta.index, arguments=rest) if rest else None

    def _finished_call(self, index: int, call: ToolCall) -> ToolCallDelta | None:
        name, arguments = call.function.name, call.function.arguments
        if index == len(self.calls):
            return self._call(ToolCallDelta(index, call.id, name, arguments))
        known = self.calls[index]
        if (call.id, name) != known.head:
            raise OtherTextError(f"another call {index}")
        rest = known.arguments.finish(arguments)
        return ToolCallDelta(index, arguments=rest) if rest else None

    def _logprobs(self, told: list[TokenLogprob]) -> list[TokenLogprob]:
        """The log-probabilities of `told` that are new."""
        known = self.logprobs[self._told : self._told + len(told)]
        if any(old.bytes != new.bytes for old, new in zip(known, told, strict=False)):
            raise OtherTextError(f"another token after {self._told}")
        self._told += len(told)
        self.logprobs += told[len(known) :]
        return told[len(known) :]


class _Call:
    """A call of a tool whose arguments grow."""

    __slots__ = ("arguments", "head")

    def __init__(self, head: tuple[str, str]) -> None:
        self.head = head
        """Id and name."""
        self.arguments = Growth()
