"""How are a model's LoRA adapters listed, loaded and unloaded?

Every replica hears an order and answers for itself. A list is answered at once, so it tells how many there are; all
that answered it are waited for.
"""

import asyncio
from typing import Final

from golek_client import discovery, reading
from golek_client.line import Line
from golek_client.stored import UNREADABLE
from golek_client.transport import Received
from golek_wire import codec, headers, subjects
from golek_wire.adapters import AdapterOrder, AdapterReport
from golek_wire.errors import DeadlineExceededError, NoWorkersError
from golek_wire.subjects import AdapterVerb

GATHER_S: Final = 0.3
"""A replica that lives answers a list sooner."""


async def order(
    line: Line, model: str, verb: AdapterVerb, told: AdapterOrder, until: float, seconds: float
) -> list[AdapterReport]:
    """What is so at each replica that heard the order, by worker id.

    Raises ModelNotFoundError and NoWorkersError when no replica hears it, what a replica answers when it refuses, and
    DeadlineExceededError when not all have done it by `until` on the loop's clock, `seconds` after the call began.
    """
    there = await _ask(line, model, "list", AdapterOrder(), min(until, line.loop.time() + GATHER_S), set())
    if not there:
        raise NoWorkersError(f"no replica of {model} said which adapters it has", model=model)
    if verb == "list":
        return sorted(there.values(), key=lambda report: report.worker_id)
    done = await _ask(line, model, verb, told, until, set(there))
    if silent := sorted(there.keys() - done.keys()):
        raise DeadlineExceededError(
            f"{', '.join(silent)} did not say within {seconds:g} s that it is done; it may go on there", model=model
        )
    return sorted(done.values(), key=lambda report: report.worker_id)


async def _ask(
    line: Line, model: str, verb: AdapterVerb, told: AdapterOrder, until: float, wanted: set[str]
) -> dict[str, AdapterReport]:
    """The reports that come until all `wanted` have reported, or `until`; without any wanted, all until then."""
    reports: dict[str, AdapterReport] = {}
    with line.mux.open() as inbox:
        inbox.asked = subjects.adapters(model, verb)
        await line.send(inbox.asked, codec.encode(told), inbox.subject, line.authorization)
        while not wanted or not wanted <= reports.keys():
            message = await inbox.get(until)
            if message is not None:
                report = await _report(line, model, message)
                reports[report.worker_id] = report
            elif asyncio.get_running_loop().time() >= until:
                break
    return reports


async def _report(line: Line, model: str, message: Received) -> AdapterReport:
    """What a replica says. Raises its refusal, and the reason why there is none."""
    about = message.headers or {}
    if headers.NATS_STATUS in about:
        raise await discovery.why_nobody(line, model) or NoWorkersError(
            f"no worker of {model} takes orders at the moment; one did a short while ago", model=model
        )
    if headers.ERROR_CODE in about:
        raise reading.error_in(message, about)
    try:
        return codec.decode(message.data, AdapterReport)
    except UNREADABLE as error:
        raise reading.foreign(error) from None
