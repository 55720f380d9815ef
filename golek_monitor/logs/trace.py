"""How is a request's story printed?

`golek trace ID`: what it was, a bar per phase of each attempt, what befell its workers meanwhile, and how it was asked
over HTTP. Lines of at most WIDTH characters, but for what people wrote.
"""

import asyncio
import sys
from typing import Final

import msgspec

from golek_client import Golek
from golek_monitor.logs.explorer import Explorer
from golek_monitor.logs.records import Attempt, HttpVisit, Phase, Stories, Story, WorkerEvent
from golek_monitor.plain import plain
from golek_wire.keys import dollars, micros
from golek_wire.logs import LoggedRequest

WIDTH: Final = 80
BAR: Final = 40
"""Characters of the longest bar."""
TEXT_LINES: Final = 12
"""Of a prompt or answer."""
NOT_FOUND: Final = 1
_SAYS: Final = {
    "queue": "in the queue",
    "prepare": "to the engine",
    "slot": "for a slot",
    "prefill": "prefill",
    "steps": "steps before",
    "decode": "decode",
    "run": "running",
    "finish": "the rest",
}


def run(explorer: Explorer, name: str, *, golek: Golek | None = None, as_json: bool = False) -> int:
    """Print what is known of `name`; the exit status, 1 where nothing is, and standard error says where was looked.

    `golek` is the explorer's, closed at the end.
    """

    async def ask() -> tuple[Stories, list[str]]:
        try:
            found = await explorer.find(name)
            return found, await explorer.missing(name) if found.is_empty else []
        finally:
            if golek is not None:
                await golek.close()

    found, why = asyncio.run(ask())
    if why:
        first, *rest = why
        print("\n".join([first, *(f"  {line}" for line in rest)]), file=sys.stderr)
        return NOT_FOUND
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        # Where the terminal's own letters cannot say it, `?` is better than an error.
        encoding = sys.stdout.encoding or "utf-8"
        print("\n".join(lines(found)).encode(encoding, "replace").decode(encoding))
    return 0


def lines(found: Stories) -> list[str]:
    """The story, or a line for each of several jobs, or what the gateway alone knows."""
    if found.story is not None:
        return told(found.story)
    if not found.requests:
        return ["over HTTP alone: it never became a job, or has not ended", *map(_visit, found.visits)]
    head = f"{len(found.requests)} jobs have this label or begin so; `golek trace JOB_ID` tells of one"
    return [head, "", *(listed(request) for request in found.requests)]


def listed(request: LoggedRequest) -> str:
    """A job on one line."""
    return (
        f"{request.timestamp}  {request.job_id}  {request.model_name}  {plain(request.status)}  "
        f"{shown_ms(request.dur_ms)}  {plain(request.req_id)}".rstrip()
    )


def told(story: Story) -> list[str]:
    """One request from its acceptance to its end."""
    first = story.attempts[0]
    written = [
        f"job      {story.job_id}",
        *([f"label    {plain(story.req_id)}"] if story.req_id else []),
        f"model    {story.model_name} ({first.request.kind}{', streamed' if first.request.stream else ''})",
        f"asked by {plain(first.request.principal)}",
        *_routed(story.attempts[-1].request),
        f"ended    {plain(story.status)} at {story.attempts[-1].request.timestamp}",
    ]
    if first.request.trace_id:
        written.append(f"trace    {first.request.trace_id}")
    longest = max(attempt.total_ms for attempt in story.attempts)
    for attempt in story.attempts:
        written += ["", *_attempt(attempt, longest)]
    if story.steps:
        written += ["", "its steps:", *map(_step, story.steps)]
    if story.events:
        written += ["", "meanwhile, of its model's workers there:", *map(_event, story.events)]
    if story.visits:
        written += ["", "over HTTP:", *map(_visit, story.visits)]
    written += [f"not read: {log.path}: {log.problem}" for log in story.problems]
    return written


def _routed(request: LoggedRequest) -> list[str]:
    """How a router had it answered, and what that cost."""
    said = {
        "step of": plain(request.parent or ""),
        "step": plain(request.step or ""),
        "mode": _mode(request),
        "asked": plain(request.asked or ""),
        "target": plain(request.target or ""),
        "cache": plain(request.cache or ""),
        "cost": "" if request.cost_usd is None else shown_usd(request.cost_usd),
    }
    return [f"{name:<9}{value}" for name, value in said.items() if value]


def _mode(request: LoggedRequest) -> str:
    """How several models answered, as far as the log says it."""
    said = [plain(request.mode or "")]
    if request.rounds and request.mode in ("critique", "debate"):
        said.append("1 round" if request.rounds == 1 else f"{request.rounds} rounds")
    if request.agreement is not None:
        said.append(f"agreement {request.agreement:.2f}")
    return ", ".join(said)


def _step(step: LoggedRequest) -> str:
    cost = f"  {shown_usd(step.cost_usd)}" if step.cost_usd is not None else ""
    cache = f"  cache {plain(step.cache)}" if step.cache else ""
    name = f"  {plain(step.step)}" if step.step else ""
    return f"  {step.job_id}{name}  {step.model_name}  {plain(step.status)}  {shown_ms(step.dur_ms)}{cost}{cache}"


def _attempt(attempt: Attempt, longest_ms: float) -> list[str]:
    request = attempt.request
    again = f"attempt {request.attempt}, " if request.attempt > 1 else ""
    written = [f"{again}{request.worker_id}, accepted {attempt.accepted}, {shown_ms(attempt.total_ms)} in all"]
    written += [_bar(phase, longest_ms, again=request.attempt > 1) for phase in attempt.phases]
    facts = [f"{request.tokens_in} tokens read, {request.tokens_out} written"]
    if request.tokens_cached:
        facts.append(f"{request.tokens_cached} from the cache")
    if request.tokens_per_s is not None:
        facts.append(f"{request.tokens_per_s:.1f} tokens/s")
    if request.ttft_ms is not None:
        facts.append(f"first token after {shown_ms(request.ttft_ms)}")
    written.append(f"  {', '.join(facts)}")
    ended = [f"{name} {value}" for name, value in (("finish", request.finish_reason), ("seed", request.seed)) if value]
    if request.adapter:
        ended.append(f"adapter {plain(request.adapter)}")
    if ended:
        written.append(f"  {', '.join(ended)}")
    if request.error:
        written.append(f"  error: {plain(request.error)}")
    if attempt.texts is not None:
        for what, text in (
            ("asked", attempt.texts.input),
            ("read", attempt.texts.prompt),
            ("wrote", attempt.texts.output),
        ):
            written += _text(what, text)
    return written


def _bar(phase: Phase, longest_ms: float, *, again: bool) -> str:
    """A phase where it lies in time: what is shorter than a character is one nevertheless."""
    scale = BAR / longest_ms if longest_ms > 0 else 0.0
    begin = min(BAR - 1, int(phase.start_ms * scale))
    length = max(1, min(BAR - begin, round((phase.start_ms + phase.ms) * scale) - begin))
    name = "earlier tries" if again and phase.name == "queue" else _SAYS[phase.name]
    return f"  {name:<14} {shown_ms(phase.ms):>9}  {' ' * begin}{'█' * length}"


def _event(event: WorkerEvent) -> str:
    sign = "+" if event.offset_ms >= 0 else "-"
    offset = f"{sign}{shown_ms(abs(event.offset_ms))}"
    return f"  {offset:>10}  {event.worker_id}  {event.level}  {event.code}  {plain(event.message)}"


def _visit(visit: HttpVisit) -> str:
    code = f" {visit.code}" if visit.code else ""
    who = f", key {visit.key_id}" if visit.key_id else ""
    return (
        f"  {visit.time}  {visit.method} {plain(visit.path)}  {visit.status}{code}  {shown_ms(visit.ms)}"
        f"  x-request-id {visit.request_id}{who}, from {visit.peer or 'somewhere'}"
    )


def _text(what: str, text: str | None) -> list[str]:
    if text is None:
        return []
    rows = [plain(row) for row in text.splitlines()] or [""]
    more = [f"    … {len(rows) - TEXT_LINES} lines more; --json has all"] if len(rows) > TEXT_LINES else []
    return [f"  {what}:", *(f"    {row}" for row in rows[:TEXT_LINES]), *more]


def shown_ms(ms: float) -> str:
    """A time as people read it."""
    if ms < 10:
        return f"{ms:.1f} ms"
    if ms < 10_000:
        return f"{ms:.0f} ms"
    return f"{ms / 1000:.1f} s"


def shown_usd(usd: float) -> str:
    """Money as people read it."""
    return dollars(micros(usd))
