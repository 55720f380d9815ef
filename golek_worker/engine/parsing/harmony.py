"""How does gpt-oss mark thoughts and calls?

OpenAI's harmony format: messages, each with a header that names its channel and perhaps a recipient. `analysis` are
thoughts, a message to `functions.x` is a call, `final` is the text. A completion begins inside the header of its first
message, for the prompt ends with `<|start|>assistant`.
"""

import re
from typing import Literal

from golek_worker.engine.parsing.answer import Answer
from golek_worker.engine.parsing.marks import Matcher
from golek_worker.output import Output

_START, _MESSAGE = "<|start|>", "<|message|>"
_END_MESSAGE = "<|end|>"
HEADER_LIMIT = 1000
"""Characters of a header; of one that does not end only the last ones are kept."""
_ENDS = (_END_MESSAGE, "<|return|>", "<|call|>")
_MARKS = (_START, "<|channel|>", _MESSAGE, "<|constrain|>", *_ENDS)
_channel = re.compile(r"<\|channel\|>([^\s<]*)").search
_recipient = re.compile(r"\sto=(?:functions\.)?([^\s<]+)").search


class Harmony:
    """Between a message's end and the next start nothing belongs to anybody; in a message only its end has a meaning.

    A model that writes a name as plain text only quotes it. `commentary` to nobody is what the model says before it
    calls: text, where tools were offered. Without them it is thought, and so is a call.
    """

    __slots__ = ("_answer", "_calls", "_header", "_matcher", "_place", "ended")

    def __init__(self, answer: Answer, output: Output) -> None:
        self._answer = answer
        self._calls = output.calls == "harmony"
        self._matcher = Matcher(_MARKS)
        self._place: Literal["header", "text", "thought", "arguments", "between"] = "header"
        self._header = ""
        self.ended = False
        """True after `<|return|>` or `<|call|>`."""

    def text(self, text: str) -> None:
        match self._place:
            case "header":
                self._in_header(text)
            case "text":
                self._answer.text(text)
            case "thought":
                self._answer.thought(text)
            case "arguments":
                self._answer.arguments(text)

    def _in_header(self, text: str) -> None:
        """A header quotes nothing: a model that was made to write one may spell the mark at its end."""
        self._header = self._header[-HEADER_LIMIT:] + text
        if _MESSAGE in self._header:
            self._header, _, text = self._header.partition(_MESSAGE)
            self._begin()
            self.text(text)

    def control(self, name: str, *, hidden: bool) -> None:  # noqa: ARG002 - harmony's names count either way
        if self.ended:
            return
        if name in _ENDS:
            self.ended = name != _END_MESSAGE
            self._place = "between"
        elif name == _START and self._place in ("header", "between"):
            self._place, self._header = "header", ""
        elif name == _MESSAGE and self._place == "header":
            self._begin()
        else:
            self.text(name)

    def mixed(self, text: str) -> None:
        if not self._matcher.may_begin(text):
            self.text(text)
            return
        plain: list[str] = []
        for character in text:
            decided, mark = self._matcher.char(character)
            plain.append(decided)
            if mark:
                self.text("".join(plain))
                self.control(mark, hidden=False)
                plain = []
        self.text("".join(plain))

    def begin_text(self) -> None:
        """What follows goes on with the text."""
        self._place = "text"

    def end(self) -> None:
        self.text(self._matcher.rest())

    def _begin(self) -> None:
        """The header is read: whose is the message?"""
        channel, recipient = _channel(self._header), _recipient(self._header)
        name = channel[1] if channel is not None else ""
        if name == "final":
            self._place = "text"
        elif recipient is not None and self._calls:
            self._place = "arguments"
            self._answer.call(recipient[1])
        elif name == "commentary" and self._calls:
            self._place = "text"
        else:
            self._place = "thought"
