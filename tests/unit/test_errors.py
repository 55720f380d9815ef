"""The tree of errors and how it travels."""

import copy
import inspect
import pickle

import pytest

from golek_wire import codec, errors
from golek_wire.errors import (
    STATUS,
    ContextBudgetExceededError,
    ErrorReply,
    InferenceServiceError,
    NonRetriableError,
    RetriableError,
    from_reply,
    leaves,
    to_reply,
)

CONTRACT = {
    "InferenceServiceError": "Exception",
    "RetriableError": "InferenceServiceError",
    "NonRetriableError": "InferenceServiceError",
    "ModelBusyError": "RetriableError",
    "ModelLoadingError": "RetriableError",
    "TemporaryResourceError": "RetriableError",
    "ContextBudgetExceededError": "NonRetriableError",
    "CompressionFailedError": "NonRetriableError",
    "HandoffStateInvalidError": "NonRetriableError",
    "ModelNotFoundError": "NonRetriableError",
    "OrchestrationFailedError": "NonRetriableError",
}
"""Names that programs written for Golek catch, and what they must derive from."""


@pytest.mark.parametrize("name", CONTRACT)
def test_the_names_that_programs_catch_exist(name: str) -> None:
    """Each is there, below the class it was promised to be below."""
    base = getattr(errors, CONTRACT[name], Exception)
    assert issubclass(getattr(errors, name), base)


def test_the_constructors_take_what_was_promised() -> None:
    """`RetriableError(message, retry_after_ms=1000)` and `ContextBudgetExceededError(current_tokens, budget)`."""
    retriable = inspect.signature(RetriableError).parameters
    assert list(retriable)[:2] == ["message", "retry_after_ms"]
    assert retriable["retry_after_ms"].default == 1000
    assert RetriableError("wait").retry_after_ms == 1000
    budget = ContextBudgetExceededError(5000, 4096)
    assert (budget.current_tokens, budget.budget) == (5000, 4096)
    assert str(budget) == "Context budget exceeded: 5000/4096 tokens"


@pytest.mark.parametrize("kind", leaves(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_and_a_default_message(kind: type[InferenceServiceError]) -> None:
    """Every class has a row in STATUS, and its docstring is what it says when nothing else is said."""
    assert kind.code in STATUS
    assert kind.__doc__
    assert kind.type == ("retriable" if issubclass(kind, RetriableError) else "non_retriable")


def test_every_status_belongs_to_an_error() -> None:
    """The table holds no code that nothing raises."""
    assert {kind.code for kind in leaves()} == set(STATUS)


@pytest.mark.parametrize("kind", leaves(), ids=lambda kind: kind.__name__)
def test_an_error_comes_back_as_what_it_was(kind: type[InferenceServiceError]) -> None:
    """Through JSON and back: the class, the message, the details, and the numbers it carries."""
    sent = kind(5, 4) if issubclass(kind, ContextBudgetExceededError) else kind("what happened", extra=[1, {"a": None}])
    reply = codec.decode(codec.encode(to_reply(sent, "r1")), ErrorReply)
    back = from_reply(reply)
    assert reply.req_id == "r1"
    assert reply.error.status == STATUS[sent.code].nats
    assert (back.code, back.message, back.details) == (sent.code, sent.message, sent.details)
    assert getattr(back, "retry_after_ms", None) == getattr(sent, "retry_after_ms", None)
    assert getattr(back, "budget", None) == getattr(sent, "budget", None)
    if kind is not NonRetriableError:
        assert type(back).code == kind.code


@pytest.mark.parametrize(("kind", "base"), [("retriable", RetriableError), ("non_retriable", NonRetriableError)])
def test_an_unknown_code_becomes_its_base_class(kind: str, base: type[Exception]) -> None:
    """An error of a later release can still be caught, and says whether to try again."""
    body = errors.ErrorBody(code="FROM_THE_FUTURE", message="new", type=kind, status=500)
    back = from_reply(ErrorReply("r1", body))
    assert type(back) is base
    assert back.message == "new"


def test_the_field_that_is_wrong_travels_as_param() -> None:
    """`param` stands beside the details on the wire and among them in Python."""
    reply = to_reply(errors.BadRequestError("top_p: too big", param="params.top_p"), "")
    assert (reply.error.param, reply.error.details) == ("params.top_p", {})
    assert from_reply(reply).details == {"param": "params.top_p"}


@pytest.mark.parametrize("name", ["message", "self", "error", "retriable", "code"])
def test_a_detail_may_have_any_name(name: str) -> None:
    """Details come from other programs; none collides with an argument of ours."""
    body = errors.ErrorBody("QUEUE_FULL", "full", "retriable", 429, details={name: "x", "retry_after_ms": 250})
    back = from_reply(ErrorReply("r1", body))
    assert (type(back), back.message, back.args) == (errors.QueueFullError, "full", ("full",))
    assert back.details == {name: "x", "retry_after_ms": 250}
    assert getattr(back, "retry_after_ms", None) == 250


@pytest.mark.parametrize("kind", leaves(), ids=lambda kind: kind.__name__)
def test_an_error_can_be_pickled_and_copied(kind: type[InferenceServiceError]) -> None:
    """Errors cross the process boundaries of their callers: pools, test runners, task queues."""
    error = kind(5, 4) if issubclass(kind, ContextBudgetExceededError) else kind("what happened", extra=[1])
    for back in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(back) is kind
        assert (back.message, back.details, str(back)) == (error.message, error.details, str(error))
        assert getattr(back, "retry_after_ms", None) == getattr(error, "retry_after_ms", None)
        assert getattr(back, "budget", None) == getattr(error, "budget", None)
