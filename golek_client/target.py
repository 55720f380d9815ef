"""Whom does a call ask?"""

from typing import Self

from msgspec import Struct

from golek_wire import subjects
from golek_wire.errors import BadRequestError
from golek_wire.subjects import Kind


class Target(Struct, frozen=True):
    """Whom to ask, and for what."""

    model: str
    kind: Kind
    subject: str
    hops: str = ""
    """Through how many routers of other fleets the request came, as they say; empty for none."""

    @classmethod
    def of(cls, model: str, kind: Kind, subject: str | None = None, hops: str = "") -> Self:
        """`model` on its usual subject, or on the one that its worker has for itself (its setting SUBJECT).

        Raises BadRequestError for a name that cannot stand in a subject, and for a subject that cannot be asked.
        """
        if subject is not None:
            _check_subject(subject, kind)
        if subject is None and not subjects.is_model_name(model):
            raise BadRequestError(
                f"model: {model[:64]!r} is no model name; letters, digits and any of _ : / @ + - . without blanks",
                param="model",
            )
        return cls(model, kind, subject or subjects.request(model, kind), hops)


def _check_subject(subject: str, kind: Kind) -> None:
    if not subjects.is_plain(subject):
        raise BadRequestError(f"subject: {subject[:64]!r} is no subject that can be asked", param="subject")
    for other in subjects.SERVED:
        if other != kind and subject.startswith(subjects.request("", other)):
            raise BadRequestError(
                f"subject: {subject[:64]!r} takes {other} requests; this is for {kind}", param="subject"
            )
