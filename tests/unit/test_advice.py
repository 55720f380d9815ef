"""What an error says over HTTP beside what it says on the bus: models that a machine could start."""

from typing import cast

import pytest

from golek_wire.errors import ModelNotFoundError, NoWorkersError
from golek_wire.hosts import Startable
from golek_worker.gateway.advice import over_http
from golek_worker.gateway.offers import Offers


class Machine:
    """One that could start these models."""

    def __init__(self, *names: str) -> None:
        self._names = names

    async def all(self) -> list[Startable]:
        return [Startable(name, name) for name in self._names]


async def advised(error: ModelNotFoundError | NoWorkersError, *names: str) -> ModelNotFoundError | NoWorkersError:
    await over_http(error, cast("Offers", Machine(*names)))
    return error


@pytest.mark.parametrize("kind", [ModelNotFoundError, NoWorkersError])
async def test_of_several_that_are_missing_those_that_are_here_are_started(
    kind: type[ModelNotFoundError | NoWorkersError],
) -> None:
    """In words and in `details.command`; of the others nothing is said."""
    error = await advised(kind("Not all are there", missing=["a", "b", "c"]), "a", "c", "d")
    assert error.details["command"] == "make start WORKER=a && make start WORKER=c"
    assert error.message == "Not all are there; `make start WORKER=a && make start WORKER=c` starts a, c"


async def test_an_error_that_has_a_command_keeps_it() -> None:
    """A router is to be started, not the model, which runs."""
    error = await advised(NoWorkersError("No router is there", model="a", command="make start WORKER=router"), "a")
    assert (error.message, error.details["command"]) == ("No router is there", "make start WORKER=router")
