"""What can happen in the terminal?

Messages go up: a widget says what happened, and who owns the matter acts. Those that come often define `can_replace`:
of several that wait only the last is handled, so that a slow terminal is behind by one look, never by a queue of them.
"""

from typing import Literal

from textual.message import Message

from golek_monitor.records import ReplicaRow
from golek_wire.signals import DeadLetter

Verb = Literal["load", "unload", "drain", "cancel", "retry", "drop"]


class Look(Message):
    """It is time to read the picture and show what is so now."""

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Look)


class Progress(Message):
    """What somebody who carries out an order says meanwhile."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Progress)


class Done(Message):
    """An order came to its end, well or not."""

    def __init__(self, text: str, *, failed: bool) -> None:
        super().__init__()
        self.text = text
        self.failed = failed


class Detail(Message):
    """Somebody wants to see one worker."""

    def __init__(self, row: ReplicaRow) -> None:
        super().__init__()
        self.row = row


class ModelWanted(Message):
    """Somebody wants to see one model's charts or queue."""

    def __init__(self, model: str, tab: Literal["charts", "queue"]) -> None:
        super().__init__()
        self.model = model
        self.tab = tab


class LettersAsked(Message):
    """The dead letters shall be read anew."""

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, LettersAsked)


class QueueAsked(Message):
    """The queue of a model shall be read anew."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self.model = model

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, QueueAsked)


class LetterWanted(Message):
    """Somebody wants to read a dead letter."""

    def __init__(self, letter: DeadLetter) -> None:
        super().__init__()
        self.letter = letter


class Wanted(Message):
    """Somebody wants an order to be given; they are asked first whether they mean it."""

    def __init__(self, verb: Verb, *, model: str = "", worker_id: str = "", job_id: str = "", active: int = 0) -> None:
        super().__init__()
        self.verb = verb
        self.model = model
        self.worker_id = worker_id
        self.job_id = job_id
        self.active = active
        """Jobs that run there."""
