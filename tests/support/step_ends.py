"""How requests end whose step failed, and whether anything of them is left."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from golek_client import Golek
from tests.support import raw
from tests.support.players import MODELS, SETTLE_S, Players, Told
from tests.support.step_faults import VICTIM, Row

CALLERS_OWN: Final = ("DEADLINE_EXCEEDED", "BAD_REQUEST", "CONTEXT_BUDGET_EXCEEDED")
"""Codes of errors that a request ends in as they are, where nothing else came of it."""
_OUT_OF_TIME: Final = ("CANCELLED", "DEADLINE_EXCEEDED")
LOGGED: Final = {"answered": ("ok",), "quarantined": ("ok",), "DEADLINE_EXCEEDED": _OUT_OF_TIME}
"""How a step may have ended in its worker's log, by its record; of other errors there may be nothing. Out of time are
router and worker at the same moment: which of them ends the step is chance.
"""
DEADLINE_S: Final = 4.0
LOG_S: Final = 20.0
"""So long after the last end all rows have been written."""
BOTH: Final = (False, True)


def check(told: Told, *codes: str, ends: str = "") -> None:
    """It ended as the table says, where `v` failed with one of `codes`."""
    row, ends = told.row, ends or told.row.ends
    assert told.took_s < told.deadline_s, str(told)
    if ends == "error":
        assert told.error is not None, str(told)
        assert told.pieces in (None, "")
        code = told.error.details["cause"]["code"] if "cause" in told.error.details else told.error.code
        assert code in codes, str(told)
        if row.mode == "single" or code in CALLERS_OWN:
            assert told.error.code == code, str(told)
            return
        assert told.error.code == "ORCHESTRATION_FAILED", str(told)
        details = told.error.details
        assert (details["cause"]["code"], details["step"], details["model"]) == (code, row.step.split("/")[0], VICTIM)
        assert details["failed"] == {VICTIM: code}
        return
    assert told.reply is not None, str(told)
    assert told.how is not None
    assert told.reply.text == (row.well if ends == "well" else row.text), str(told)
    assert told.pieces in (None, told.reply.text)
    failed = [one for one in told.how.steps if (one.model, f"{one.name}/{one.round}") == (VICTIM, row.step)]
    if ends == "partial":
        assert told.how.error in codes
        assert (told.how.partial, told.reply.finish_reason) == (True, "partial"), str(told)
        assert told.how.total_steps > told.how.completed_steps
    else:
        assert (told.how.partial, told.how.error, told.reply.finish_reason) == (False, None, "stop"), str(told)
    if ends != "well":
        assert len(failed) == row.counts, str(told)
        assert {one.outcome for one in failed} <= {*codes}, str(told)


async def check_nothing_is_left(fleet: Players, golek: Golek, tolds: Sequence[Told], killed: str = "") -> None:
    """Nothing runs, nothing waits, and no log has anything of the requests later than their end.

    Each step that was asked has ended in its worker's log, as its record says. Whoever was `killed` may have written
    nothing.
    """
    async with raw.connected(fleet.url) as client:
        assert set((await fleet.settle(client)).values()) == {(0, 0, 0)}
    for name in MODELS:
        await fleet.until_active(golek, name, 0)
    until = time.monotonic() + LOG_S
    for told in tolds:
        while missing := await asyncio.to_thread(_not_logged, fleet, told, killed):
            assert time.monotonic() < until, f"not in the logs: {missing}\n{told}"
            await asyncio.sleep(0.05)  # logs are written a moment later
    for told in tolds:
        for name in MODELS:
            for row in fleet.rows(name, told.req_id):
                assert row["ts"] < told.ended_at + SETTLE_S, (told, row)


def _not_logged(fleet: Players, told: Told, killed: str) -> list[str]:
    """What the logs do not have of a request: the router's row, or workers' rows, one for each step in it."""
    own = fleet.rows("router", told.req_id)
    if not own:
        return ["the router's row"]
    steps = json.loads(own[-1]["orchestration"])["steps"] if own[-1]["orchestration"] else ()
    wanted = Counter(
        (step["model"], f"{step['name']}/{step.get('round', 1)}", LOGGED[outcome])
        for step in steps
        if (outcome := step.get("outcome", "answered")) in LOGGED and step["model"] != killed
    )
    logged = {name: [(row["step"], row["status"]) for row in fleet.rows(name, told.req_id)] for name in MODELS}
    return [
        f"{count} of {key} as {ends} at {model}, which has {logged[model]}"
        for (model, key, ends), count in wanted.items()
        if sum(step == key and status in ends for step, status in logged[model]) < count
    ]


async def all_at_once(
    fleet: Players,
    golek: Golek,
    fault: str,
    rows: Sequence[Row],
    act: Any,
    *,
    others: dict[str, Any] | None = None,
    deadline_s: float = DEADLINE_S,
) -> list[Told]:
    """All rows, streamed and not."""
    return await asyncio.gather(
        *(
            fleet.ask(
                golek,
                row,
                row.req_id(fault, streamed=streamed),
                row.prompt(act, others),
                streamed=streamed,
                deadline_s=deadline_s,
            )
            for row in rows
            for streamed in BOTH
        )
    )
