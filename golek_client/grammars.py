"""How are named grammars stored, read and removed?

Any worker answers on `grammars.*`; the fleet has one store.
"""

from typing import TypeVar

import msgspec

from golek_client.line import Line
from golek_client.stored import UNREADABLE
from golek_wire import codec, headers, subjects
from golek_wire.errors import DeadlineExceededError, InternalError, NoWorkersError

T = TypeVar("T")


async def ask(line: Line, verb: str, body: msgspec.Struct | None, kind: type[T], until: float, seconds: float) -> T:
    """What a worker answers by `until` on the loop's clock, `seconds` after the call began.

    Raises NoWorkersError when nobody listens, DeadlineExceededError, and what the worker answers.
    """
    subject = subjects.grammars(verb)
    with line.mux.open() as inbox:
        inbox.asked = subject
        await line.send(subject, b"" if body is None else codec.encode(body), inbox.subject, line.authorization or None)
        answer = await inbox.get(until)
    if answer is None:
        raise DeadlineExceededError(f"no worker answered on {subject} within {seconds:g} s")
    if headers.NATS_STATUS in (answer.headers or {}):
        raise NoWorkersError("no worker runs at the moment; any of them, whatever its model, answers for grammars")
    try:
        return codec.decode_final(answer.data, kind)
    except UNREADABLE as error:
        raise InternalError(f"the answer on {subject} is not a worker's: {error}") from None
