"""How is a task ended whose end must be seen before anything else is done?"""

import asyncio
from typing import Any


async def end(task: "asyncio.Future[Any]") -> None:
    """Cancel a task and wait until it has ended; what it comes to is dropped.

    Whoever waits may be cancelled meanwhile, also a second time: two deadlines may be one moment. That is raised once
    the task has ended, not before: what it uses could still be in use.
    """
    task.cancel()
    again: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as cancelled:
            again = cancelled
    if not task.cancelled():
        task.exception()  # nobody waits for it any more
    if again is not None:
        raise again
