"""What do the sequences of a server come to?

Counted here, of what went through this engine: an attached server may have other callers.
"""

from time import monotonic

from golek_worker.engine.base import Gauges


class Meter:
    """Counters of one engine."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._inside = 0
        self._busy_s = 0.0
        self._busy_since = 0.0
        self._prompt_tokens = self._prefix_tokens = self._prefix_hits = self._tokens_out = 0
        self.told: dict[str, float] = {}
        """What a server says that has other callers, too, by the names in `Gauges`."""

    def begin(self) -> None:
        """A sequence was given to the server."""
        if not self._inside:
            self._busy_since = monotonic()
        self._inside += 1

    def end(self) -> None:
        """It is no longer there."""
        self._inside -= 1
        if not self._inside:
            self._busy_s += monotonic() - self._busy_since

    def count(self, tokens_in: int, tokens_cached: int, tokens_out: int) -> None:
        """What it took, in tokens."""
        self._prompt_tokens += tokens_in
        self._prefix_tokens += tokens_cached
        self._prefix_hits += tokens_cached > 0
        self._tokens_out += tokens_out

    def gauges(self) -> Gauges:
        """All of it."""
        running = min(self._inside, self._slots)
        return Gauges(
            running=max(running, round(self.told.get("running", 0))),
            waiting=max(self._inside - running, round(self.told.get("waiting", 0))),
            prompt_tokens=self._prompt_tokens,
            prefix_tokens=self._prefix_tokens,
            prefix_hits=self._prefix_hits,
            tokens_out=self._tokens_out,
            busy_s=self._busy_s + (monotonic() - self._busy_since if self._inside else 0.0),
        )
