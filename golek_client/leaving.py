"""What becomes of a resumable stream whose reader leaves?

Somebody else may go on reading it, here or in another process. Who reads listens at `golek.reading.<job id>`, and so
does who has left, for as long as it is patient. Then it asks there: where the server says that nobody listens, it was
the last one, and cancels the job. Who dies leaves the job to its end or its deadline.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from golek_client import reading
from golek_client.line import Line
from golek_client.transport import Received
from golek_wire import headers, subjects
from golek_wire.errors import InferenceServiceError

PATIENCE_S: Final = 30.0
"""So long a job goes on for a reader who may come back."""
ANSWER_S: Final = 1.0
"""The server says at once that nobody listens; who listens says nothing."""


async def leave(line: Line, job_id: str, patience_s: float, stop: Callable[[], Awaitable[None]]) -> bool:
    """Have `stop` end the reading, wait, and cancel the job where nobody reads it after `patience_s`.

    Whether it was cancelled; False when it ended meanwhile. Where that cannot be told, as without a connection, the job
    goes on. A task that is cancelled while it waits cancels nothing.
    """
    ended = asyncio.Event()

    async def hear(message: Received) -> None:
        if headers.FINAL in (message.headers or {}):
            ended.set()

    try:
        listening = await line.subscribe(subjects.reading(job_id), hear)
    except InferenceServiceError:
        await stop()
        return False
    try:
        await stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await ended.wait()
    finally:
        await line.unsubscribe(listening)
    if ended.is_set():
        return False
    try:
        if await _is_read(line, job_id):
            return False
        await line.send(subjects.cancel(job_id), b"")
    except InferenceServiceError:
        return False
    return True


async def _is_read(line: Line, job_id: str) -> bool:
    """Whether anybody listens where readers do. Raises as `Line.ask_once` does."""
    until = asyncio.get_running_loop().time() + ANSWER_S
    answer = await line.ask_once(subjects.reading(job_id), b"", until)
    return answer is None or not reading.nobody_heard(answer, answer.headers or {})
