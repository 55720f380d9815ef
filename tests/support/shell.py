"""What a developer's shell says must not reach the programs that tests start."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from golek_worker import settings


@contextmanager
def nothing_said() -> Iterator[None]:
    """While inside, no setting of ours stands in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for key in settings.KNOWN:
            patch.delenv(key, raising=False)
        yield
