"""What of all that a model writes is its answer, what are its thoughts, and what does it ask of tools?

`writer` gives what reads one sequence, token by token: a `TextWriter` where the text is the answer, else an
`AnswerReader`. An answer that is not streamed is the same pieces joined, so the two cannot differ; how the text is cut
into tokens changes nothing. Pure: every engine uses it.
"""

from collections.abc import Sequence

from golek_wire.replies import Delta
from golek_worker.engine.base import Piece
from golek_worker.engine.parsing.answer import Answer
from golek_worker.engine.parsing.harmony import Harmony
from golek_worker.engine.parsing.marked import Marked
from golek_worker.engine.parsing.reader import AnswerReader
from golek_worker.engine.text import TextWriter
from golek_worker.output import Output

Writer = TextWriter | AnswerReader


def writer(output: Output, job_id: str, stops: Sequence[str], resumed: str | None = None) -> Writer:
    """What reads the sequence of a job. `resumed` is the text that was shown before, of which the first token follows.

    Stop strings are looked for in the text alone, not in thoughts and calls.
    """
    shown = resumed or ""
    if output.form in ("text", "special"):
        return TextWriter(stops, shown)
    answer = Answer(job_id, stops, shown, short_ids=output.calls == "mistral")
    form = Harmony(answer, output) if output.form == "harmony" else Marked(answer, output)
    form.mixed(output.begun)
    if resumed is not None:
        form.mixed(output.opening)
        form.begin_text()
    return AnswerReader(answer, form)


def together(first: Piece, second: Piece) -> Piece:
    """Two pieces of one choice that follow each other, as one."""
    if not first or not second:
        return first or second
    if isinstance(first, str) and isinstance(second, str):
        return first + second
    a, b = (Delta(piece) if isinstance(piece, str) else piece for piece in (first, second))
    return Delta(
        a.text + b.text,
        a.reasoning_content + b.reasoning_content,
        [*(a.tool_calls or ()), *(b.tool_calls or ())] or None,
        [*(a.logprobs or ()), *(b.logprobs or ())] or None,
        a.index,
    )
