"""What can the machines of a fleet start, and how are they asked?

A machine has a supervisor, `golek serve`, which knows its env files and its catalogue. On `hosts.list` every supervisor
tells what it could start; on `hosts.start` one of them starts a model that no worker serves, and answers as a worker
does that was ordered to load it: with `Residence`s.
"""

from msgspec import Struct, field


class StartOrder(Struct, frozen=True):
    """What an operator asks on `hosts.start`, and on `hosts.start.<host>` of that machine alone."""

    model: str
    """The model's name, or that of a deployment."""


class Startable(Struct, frozen=True):
    """One model that a machine has an env file or an entry in its catalogue for."""

    name: str
    """What clients ask for."""
    deployment: str
    """What its worker is started as."""
    kind: str = "inference"
    has_file: bool = True
    """Whether nothing must be downloaded first."""
    size_bytes: int = 0
    """Of its file, here or where it comes from; 0 while that is not known."""
    context_size: int = 0
    """Tokens of one sequence; 0 while that is not known."""
    runs: bool = False
    """Whether a worker of this machine serves it, or is about to."""
    roles: list[str] = field(default_factory=list[str])
    """What its catalogue says that it is good for."""


class HostReport(Struct, frozen=True):
    """The answer of a supervisor on `hosts.list`."""

    host: str
    """The supervisor, as one subject token: it alone hears `hosts.start.<host>`."""
    machine: str
    """The name of its machine."""
    models: list[Startable] = field(default_factory=list[Startable])
