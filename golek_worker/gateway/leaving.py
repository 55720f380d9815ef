"""What happens when the client leaves before its answer?

Its job is cancelled at once. Servers do not cancel a handler whose client has gone, so `watched` listens for that and
cancels the task that it was entered in.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.types import Receive

from golek_worker.gateway.body import GoneError


@contextlib.asynccontextmanager
async def watched(receive: Receive) -> AsyncIterator[None]:
    """While inside, a client that leaves ends the block: raises GoneError. To be entered once the body is read."""
    task = asyncio.current_task()
    assert task is not None
    gone = False

    async def listen() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    listening = asyncio.create_task(listen())
    try:
        yield
    except asyncio.CancelledError:
        if gone and not task.uncancel():
            raise GoneError from None
        raise
    finally:
        listening.cancel()
