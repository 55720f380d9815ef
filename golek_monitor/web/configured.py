"""With which settings does a worker run? It is asked once: they stay while it lives."""

from collections import OrderedDict
from typing import Final

from golek_client import Golek
from golek_client.micro import WorkerInfo
from golek_wire.errors import InferenceServiceError

ASK_S: Final = 1.0
KEPT: Final = 500
"""Workers whose answers are remembered; of more the one that was looked at longest ago is asked again."""


class Configured:
    """What workers told of their settings, by their incarnation."""

    def __init__(self, golek: Golek | None) -> None:
        self._golek = golek
        self._known: OrderedDict[str, WorkerInfo] = OrderedDict()

    async def of(self, incarnation: str) -> WorkerInfo | None:
        """What the worker of this incarnation says; None where it does not, or nobody can be asked."""
        if incarnation in self._known:
            self._known.move_to_end(incarnation)
            return self._known[incarnation]
        if self._golek is None or not incarnation:
            return None
        try:
            said = await self._golek.info(incarnation, timeout=ASK_S)
        except InferenceServiceError:
            return None
        self._known[incarnation] = said
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        return said
