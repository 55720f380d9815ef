"""What `import golek_client` gives and costs."""

import subprocess
import sys

import pytest

import golek_client
from golek_client.options import Options
from golek_wire.errors import InferenceServiceError, leaves
from golek_wire.requests import InferenceRequest, Params

HEAVY = ("typer", "click", "jinja2", "llama_cpp", "aiosqlite", "structlog", "uvloop", "psutil", "golek_worker")


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout


@pytest.mark.parametrize("name", golek_client.__all__)
def test_every_public_name_is_there(name: str) -> None:
    """`from golek_client import *` works, whatever is imported lazily."""
    assert getattr(golek_client, name).__name__ == name


def test_every_error_can_be_imported_from_the_package() -> None:
    """Whoever catches an error need not know where it is defined."""
    assert {kind.__name__ for kind in [InferenceServiceError, *leaves()]} <= set(golek_client.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """The lazy import does not hide mistakes."""
    with pytest.raises(AttributeError, match="Golem"):
        _ = golek_client.Golem  # type: ignore[attr-defined]


def test_the_client_imports_nothing_of_workers_and_terminals() -> None:
    """A program that asks pays for nats-py and msgspec only."""
    loaded = run(f"import sys\nfrom golek_client import Golek\nprint([m for m in {HEAVY!r} if m in sys.modules])")
    assert loaded.strip() == "[]"


def test_the_client_costs_little_beyond_nats() -> None:
    """At most 60 ms of CPU time after nats-py, whatever else runs on the machine."""
    code = "import nats, time\nt = time.process_time()\nfrom golek_client import Golek\nprint(time.process_time() - t)"
    assert min(float(run(code)) for _ in range(3)) < 0.060


def test_every_field_of_a_request_is_a_keyword() -> None:
    """`Options` offers the fields of `Params` and `InferenceRequest`, save those that the calls themselves fill in."""
    filled_in = {"input", "messages", "params", "stream", "deadline_ms"}
    fields = (set(Params.__struct_fields__) | set(InferenceRequest.__struct_fields__)) - filled_in
    assert set(Options.__annotations__) == fields


@pytest.mark.parametrize(("configure", "seen"), [("", ""), ("logging.basicConfig()", "WARNING:golek.bus:lost\n")])
def test_warnings_are_seen_where_logging_is_configured(configure: str, seen: str) -> None:
    """A program that configures no logging keeps its standard error to itself."""
    code = f"import logging, golek_client\n{configure}\nlogging.getLogger('golek.bus').warning('lost')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stderr == seen
