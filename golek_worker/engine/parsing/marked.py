"""How do models with a chat template mark thoughts and calls?

Thoughts stand between two marks, such as `<think>` and `</think>`, before the text; the prompt may have opened them.
Calls stand behind a mark, in one of several forms (calls.py), or are a bare object. Marks count as text and as tokens.
Blanks around thoughts and before calls belong to nobody. Control tokens that are no marks write nothing.
"""

from typing import Literal

from golek_worker.engine.parsing import calls
from golek_worker.engine.parsing.answer import Answer
from golek_worker.engine.parsing.calls import Body, DeepSeek, Named, Objects, Tagged
from golek_worker.engine.parsing.marks import Matcher
from golek_worker.output import Output

_FUNCTION = "<function="
_OPENS: dict[str, tuple[str, ...]] = {
    "tool_call": ("<tool_call>",),
    "function": ("<tool_call>", _FUNCTION),
    "list": ("<|tool_call|>",),
    "mistral": ("[TOOL_CALLS]",),
    "deepseek": calls.DEEPSEEK_BEGIN,
    "llama": ("<|python_tag|>",),
}
"""The marks that open calls, by the form's name."""
_INNER = frozenset(
    ("</tool_call>", "<|/tool_call|>", "[ARGS]", "[CALL_ID]", calls.SEP, *calls.DEEPSEEK_BEGIN, *calls.DEEPSEEK_END)
)
_CLOSES = ("</tool_call>", "<|/tool_call|>")
Mode = Literal["start", "after", "thinking", "text", "call"]


class Marked:
    """Reads character by character where a mark may be, else whatever comes at once."""

    def __init__(self, answer: Answer, output: Output) -> None:
        self._answer = answer
        self._output = output
        self._opens = _OPENS.get(output.calls, ())
        self._think = output.think
        self._mode: Mode = "start"
        self._blank = ""
        """Blanks that belong to the text or the thoughts if more of them follows."""
        self._has_thought = False
        self._body: Body | None = None
        self._opened: list[str] = []
        """What was read of a block of calls while none of it was one."""
        self._behind = ""
        """What of it stands behind its mark, while its form is not known."""
        self._calls_before = 0
        self._matchers = {
            mode: Matcher(marks)
            for mode, marks in {
                "start": (*self._opens, *(self._think or ())[:1]),
                "thinking": self._think or (),
                "text": self._opens,
            }.items()
        }
        self._matcher = self._matchers["start"]

    @property
    def ended(self) -> bool:
        """True after the only call that was asked for."""
        return self._output.one_call and self._answer.whole_calls > 0

    def text(self, text: str) -> None:
        if self._mode in ("text", "thinking") and not self._matcher.may_begin(text):
            self._plain(text)
            return
        for character in text:
            self._char(character)

    def control(self, name: str, *, hidden: bool) -> None:
        if not hidden or name in self._opens or name in (self._think or ()) or (self._opens and name in _INNER):
            self.text(name)

    def mixed(self, text: str) -> None:
        self.text(text)

    def begin_text(self) -> None:
        """What follows goes on with the text."""
        self._enter("text")

    def end(self) -> None:
        self._plain(self._matcher.rest())
        if self._mode == "call":
            if len(self._answer.calls) == self._calls_before:
                self._answer.text("".join(self._opened))
            elif self._body is not None:
                self._body.end()
                self._answer.text(self._body.rest)
        elif self._mode in ("start", "text"):
            self._answer.text(self._blank)

    def _char(self, character: str) -> None:
        if self.ended:
            return
        if self._mode == "call":
            self._call(character)
            return
        matcher = self._matcher
        plain, mark = matcher.char(character)
        self._plain(plain)
        if mark:
            self._mark(mark)
        elif matcher.held and matcher is not self._matcher:
            self.text(matcher.rest())

    def _enter(self, mode: Mode) -> None:
        self._mode = mode
        if mode != "call":
            self._matcher = self._matchers["start" if mode == "after" else mode]

    def _plain(self, text: str) -> None:
        """Text without marks."""
        if not text:
            return
        if self._mode == "thinking":
            said = self._without_end(text)
            self._answer.thought(said if self._has_thought else said.lstrip())
            self._has_thought = self._has_thought or bool(said)
        elif self._mode == "text":
            self._say(text)
        elif self._mode == "call":
            self.text(text)
        else:
            self._begin(text)

    def _begin(self, text: str) -> None:
        """Text where it may be the first: it opens the text, or is an object that is a call."""
        said = text.lstrip()
        if self._mode == "start":
            self._blank += text[: len(text) - len(said)]
        if not said:
            return
        if said[0] == "{" and self._output.calls in ("llama", "object"):
            self._open("")
            self._body = Objects(self._answer, strict=True)
            self.text(said)
            return
        self._enter("text")
        blank, self._blank = self._blank, ""
        self._say(blank + said)

    def _say(self, text: str) -> None:
        self._answer.text(self._without_end(text) if self._opens else text)

    def _without_end(self, text: str) -> str:
        """`text`, behind the blanks before it, without those at its end: they wait for what follows."""
        kept = text.rstrip()
        if not kept:
            self._blank += text
            return ""
        said, self._blank = self._blank + kept, text[len(kept) :]
        return said

    def _mark(self, mark: str) -> None:
        if self._think and mark == self._think[0]:
            if self._mode == "thinking" and self._has_thought:
                self._plain(mark)
            elif self._mode != "thinking":
                self._enter("thinking")
                self._blank = "\n\n" if self._has_thought else ""
        elif self._think and mark == self._think[1]:
            self._blank = ""
            self._enter("after")
        else:
            self._open(mark)

    def _open(self, mark: str) -> None:
        """A block of calls begins."""
        self._opened = [self._blank, mark]
        self._behind = self._blank = ""
        self._calls_before = len(self._answer.calls)
        self._enter("call")
        self._body = None
        if self._output.calls == "deepseek":
            self._body = DeepSeek(self._answer)
            if mark == calls.BEGIN_ONE:
                self._feed(self._body, mark)
        elif mark == _FUNCTION:
            self._body = Tagged(self._answer, self._output.kinds, "")

    def _feed(self, body: Body, text: str) -> None:
        for character in text:
            body.char(character)

    def _call(self, character: str) -> None:
        """A further character of a block of calls."""
        self._opened.append(character)
        if self._body is None:
            self._choose(character)
            return
        verdict = self._body.char(character)
        if verdict == "more":
            if len(self._answer.calls) > self._calls_before:
                self._opened.clear()
        elif len(self._answer.calls) > self._calls_before:
            self._go_on(self._body.rest if verdict == "no call" else "")
        elif verdict == "no call":
            self._refuse()
        else:
            self._enter("after")

    def _choose(self, character: str) -> None:
        """The first character behind the mark tells which of its forms the block has."""
        self._behind = behind = (self._behind + character).lstrip()
        if not behind:
            return
        form = self._output.calls
        if behind == "{":
            self._body = Objects(self._answer, _CLOSES)
            self._body.char(character)
        elif behind == "[" and form in ("list", "mistral", "llama"):
            self._body = Objects(self._answer, _CLOSES)
        elif form == "mistral":
            self._body = Named(self._answer, character)
        elif behind == _FUNCTION:
            self._body = Tagged(self._answer, self._output.kinds, "</tool_call>")
        elif not _FUNCTION.startswith(behind) or form not in ("tool_call", "function"):
            self._refuse()

    def _go_on(self, rest: str) -> None:
        """`rest` is what ended a block of calls: the beginning of what follows, or an object that is text with all in
        it. Read again for marks, objects within objects would be read as often as they are deep.
        """
        if "{" in rest:
            self._enter("text")
            self._say(rest.lstrip())
        else:
            self._enter("after")
            self.text(rest)

    def _refuse(self) -> None:
        """The block is no call: it is text, as it was written."""
        said = "".join(self._opened)
        self._opened.clear()
        self._enter("text")
        self._say(said)
