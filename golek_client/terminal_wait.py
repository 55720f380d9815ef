"""What is a person told while a command waits?

Nothing for two seconds; then one line on standard error, with what the fleet knows of the model.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Final

from golek_client import discovery
from golek_client.client import Golek
from golek_wire import subjects
from golek_wire.errors import InferenceServiceError

QUIET_S: Final = 2.0


@contextlib.asynccontextmanager
async def notice(golek: Golek, model: str) -> AsyncIterator[Callable[[], object]]:
    """Say what is waited for, unless the block ends, or calls what it is given, within two seconds."""
    telling = asyncio.create_task(_tell(golek, model))
    try:
        yield telling.cancel
    finally:
        telling.cancel()


async def _tell(golek: Golek, model: str) -> None:
    await asyncio.sleep(QUIET_S)
    known = "what the fleet knows of it could not be read"
    with contextlib.suppress(InferenceServiceError):
        known = await _known(golek, model)
    print(f"waiting for {model}: {known} (Ctrl-C stops)", file=sys.stderr, flush=True)


async def _known(golek: Golek, model: str) -> str:
    """The state of `model` and its last sign of life."""
    for record in await golek.models():
        if subjects.model_token(record.name) == subjects.model_token(model):
            now = datetime.now(UTC)
            when = discovery.sign(record, now)
            return f"{discovery.state(record, now)}, {when if when.startswith('no sign') else f'last seen {when}'}"
    return "the fleet knows no model of this name"
