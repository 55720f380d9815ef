"""What must a place be able to do where conversations are kept?

It knows bytes by their keys. Two who change one value at the same time both do: the later one is asked again, with what
the earlier one left. What is not changed for GOLEK_SESSION_TTL is gone.
"""

from collections.abc import Callable
from typing import Protocol

Edit = Callable[[bytes | None], bytes | None]
"""The new value, made of the old one (None: there is none); None leaves all as it is. May be asked several times."""


class Store(Protocol):
    """A place. All raise TemporaryResourceError when it does not answer."""

    name: str
    """For health."""

    async def read(self, key: str) -> bytes | None:
        """The value; None where there is none."""
        ...

    async def change(self, key: str, edit: Edit) -> None:
        """Put what `edit` makes of the value in its place. Raises what `edit` raises."""
        ...

    async def delete(self, key: str) -> bool:
        """Remove the value; False when there was none."""
        ...

    async def close(self) -> None:
        """Hang up."""
        ...
