"""The messages on the bus, held equal to the files in `golden/`.

A changed file is a changed contract: programs outside this repository read these messages. After an intended change
write the files anew with `python -m tests.contract.test_messages` and read the difference.
"""

from pathlib import Path

import msgspec
import pytest

from golek_wire import (
    adapters,
    breakers,
    caches,
    codec,
    errors,
    helping,
    hosts,
    keys,
    lanes,
    logs,
    orchestration,
    replies,
    requests,
    routing,
    sessions,
    signals,
    vision,
)
from tests.contract.messages import MESSAGES

GOLDEN = Path(__file__).parent / "golden"


def pretty(message: object) -> str:
    """The JSON of `message` as it travels, indented for people."""
    return msgspec.json.format(codec.encode(message), indent=2).decode() + "\n"


def structs() -> set[type[msgspec.Struct]]:
    """Every struct that is a message by itself."""
    modules = (
        adapters,
        breakers,
        caches,
        helping,
        hosts,
        keys,
        lanes,
        logs,
        orchestration,
        requests,
        replies,
        errors,
        sessions,
        signals,
        routing,
        vision,
    )
    found = {kind for module in modules for kind in vars(module).values() if _is_struct(kind, module.__name__)}
    # Parts of other messages.
    return found - {
        hosts.Startable, logs.LoggedRequest, logs.LogEvent,
        requests.Params, requests.Message, requests.Resume, requests.JsonSchema, requests.ResponseFormat,
        replies.Choice, replies.Delta, replies.FunctionCall, replies.TokenLogprob, replies.ToolCall,
        replies.ToolCallDelta, replies.TopLogprob, signals.ModelInfo, signals.Refusals, errors.ErrorBody,
        adapters.AdapterFile, keys.Budget, replies.Allowance, replies.Allowances, replies.SessionUse, sessions.Turn,
        routing.CacheWish, routing.RouteWish, routing.Tried, routing.Route, routing.Candidate, routing.Rejected,
        routing.Offer, orchestration.OrchestrationWish, orchestration.StepRecord, orchestration.Orchestration,
        orchestration.InferenceMetadata, orchestration.Preset,
    }  # fmt: skip


def _is_struct(kind: object, module: str) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__module__ == module


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_looks_as_its_file_says(name: str) -> None:
    """Field by field, in order, with what is left out left out."""
    assert pretty(MESSAGES[name]) == (GOLDEN / f"{name}.json").read_text()


@pytest.mark.parametrize("name", MESSAGES)
def test_a_file_is_read_as_its_message(name: str) -> None:
    """Reading what was written gives the same message."""
    message = MESSAGES[name]
    assert codec.decode((GOLDEN / f"{name}.json").read_bytes(), type(message)) == message


@pytest.mark.parametrize("name", [name for name in MESSAGES if name.startswith("request")])
def test_requests_pass_the_door(name: str) -> None:
    """Each example request is one that a worker takes."""
    assert codec.decode_request((GOLDEN / f"{name}.json").read_bytes()) == MESSAGES[name]


def test_every_message_has_an_example_and_every_file_a_message() -> None:
    """A new struct needs a golden file, and no file outlives its message."""
    assert {type(message) for message in MESSAGES.values()} == structs()
    assert {file.stem for file in GOLDEN.glob("*.json")} == set(MESSAGES)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for each, example in MESSAGES.items():
        (GOLDEN / f"{each}.json").write_text(pretty(example))
