"""What does an order do, in words: before it is given, while it is carried out, and at its end?

Pure: the sentences that a person decides by.
"""

from collections.abc import Sequence
from typing import Final

from golek_monitor.plain import plain
from golek_monitor.tui.messages import Verb, Wanted
from golek_monitor.tui.words import span
from golek_wire.signals import Residence

TITLES: Final[dict[Verb, str]] = {
    "drain": "Drain", "load": "Load", "unload": "Unload", "cancel": "Cancel", "retry": "Retry", "drop": "Drop",
}  # fmt: skip


def title(wanted: Wanted) -> str:
    """The order in a few words: `Drain qwen3-4b-host1-1`."""
    about = wanted.worker_id or wanted.model if wanted.verb in ("drain", "load", "unload") else f"job {wanted.job_id}"
    return f"{TITLES[wanted.verb]} {plain(about)}"


def consequence(wanted: Wanted) -> str:
    """What will happen when it is given, in one or two sentences."""
    jobs = _jobs(wanted.active)
    match wanted.verb:
        case "drain":
            return (
                f"The worker takes no more requests, finishes {jobs} and ends, as after SIGTERM."
                " Nothing starts it again but whoever keeps it running."
            )
        case "unload":
            return (
                f"The worker finishes {jobs}, then takes {plain(wanted.model)} out of memory. It goes on taking"
                " requests: the next one loads the model again, and waits for that."
            )
        case "load":
            return f"The worker loads {plain(wanted.model)} into memory, where it is not there already."
        case "cancel":
            return "The job stops, or is never begun. Whoever asked for it gets the error CANCELLED."
        case "retry":
            return (
                "The request is asked once more as a fresh job with the same seed. It crashed its engine each time it"
                " ran, so it may crash one again. When it is answered the letter is dropped."
            )
        case "drop":
            return "The letter is deleted with its request. Nobody can retry it then."


def progress(word: Residence) -> str:
    """What a replica says meanwhile."""
    far = f" {word.progress:.0%}" if word.progress is not None else ""
    jobs = f", {word.active} running" if word.active else ""
    return f"{plain(word.worker_id)}: {word.status}{far}{jobs} after {span(word.seconds)}"


def outcome(words: Sequence[Residence]) -> tuple[str, bool]:
    """What is so at the end, and whether that is not what was asked for."""
    if not words:
        return "nobody answered", True
    said = [
        f"{plain(word.worker_id)}: {plain(word.problem) if word.problem else word.status} after {span(word.seconds)}"
        for word in words
    ]
    return "; ".join(said), any(word.problem for word in words)


def _jobs(number: int) -> str:
    return "its jobs" if number == 0 else "the 1 job that runs" if number == 1 else f"the {number} jobs that run"
