"""What stays known of a model when its workers are gone?

When it was first seen, and what its last heartbeat said of it. Pure.
"""

from collections.abc import Collection, Mapping
from typing import Final

from golek_client.fleet import ModelState, Replica
from golek_monitor.rows import Past
from golek_wire.signals import Health

LATEST: Final = 253_370_764_800.0
"""The year 9999: behind it a moment cannot be written down."""
FIRST_SEEN_KEPT: Final = 20_000
"""Of more models those that are not shown are forgotten: names come from the bus."""
WORDS_KEPT: Final = 1000
"""Of more models no last word is kept."""


class Models:
    """Of every model, by name."""

    def __init__(self) -> None:
        self.first_seen: dict[str, float] = {}
        """Seconds since 1970."""
        self._words: dict[str, Health] = {}

    def heartbeat(self, health: Health) -> None:
        """A worker said how it is."""
        if health.model_name in self._words or len(self._words) < WORDS_KEPT:
            self._words[health.model_name] = health

    def seen(self, at: Mapping[str, float]) -> None:
        """When models were first seen, as the broker has it: seconds since 1970 by name."""
        self.first_seen |= {name: min(max(moment, 0.0), LATEST) for name, moment in at.items()}

    def past(self, model: ModelState, everyone: Collection[Replica], left: Collection[str], wall: float) -> Past:
        """What stays known of it, where `everyone` are all workers of it that are known, and `left` the models whose
        last worker said that it leaves.
        """
        said = [one.status for one in everyone]
        return Past(
            self.first_seen.setdefault(model.name, wall),
            self._words.get(model.name),
            stopped=not model.replicas and (set(said) == {"offline"} if said else model.name in left),
        )

    def forget(self, shown: Collection[str]) -> None:
        """Let go of models that are not shown, where there are too many."""
        self._words = {name: word for name, word in self._words.items() if name in shown}
        if len(self.first_seen) > FIRST_SEEN_KEPT:
            self.first_seen = {name: at for name, at in self.first_seen.items() if name in shown}
