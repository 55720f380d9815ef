"""What a request wishes of its route or of caches is never passed over for a mistyped name."""

from collections.abc import Callable
from typing import Any

import pytest

from golek_client.embedding import Question
from golek_client.options import build
from golek_client.ranking import build as build_ranking
from golek_wire import codec
from golek_wire.anthropic import messages
from golek_wire.errors import BadRequestError
from golek_wire.openai import chat, completions, embeddings, rerank, responses
from golek_worker.gateway.asking import local_only

TURN = {"messages": [{"role": "user", "content": "Who keeps to the policy?"}]}
READERS: list[tuple[Callable[[bytes], object], dict[str, Any]]] = [
    (codec.decode_request, {"input": "x"}),
    (codec.decode_request, TURN),
    (codec.decode_embedding, {"input": "x"}),
    (codec.decode_rerank, {"query": "x", "documents": ["y"]}),
    (chat.read, TURN),
    (completions.read, {"prompt": "x"}),
    (responses.read, {"input": "x"}),
    (embeddings.read, {"input": "x"}),
    (rerank.read, {"query": "x", "documents": ["y"]}),
    (messages.read, {"max_tokens": 5, **TURN}),
]


@pytest.mark.parametrize(("read", "fine"), READERS)
def test_a_mistyped_wish_is_refused_on_every_surface(read: Callable[[bytes], object], fine: dict[str, Any]) -> None:
    """The field is named, and those that there are; so is a field of `route` that stands beside it."""
    read(codec.encode({**fine, "route": {"policy": "never_cloud"}}))
    with pytest.raises(BadRequestError, match=r"route\.polcy: .*did you mean policy; there is policy, strategy"):
        read(codec.encode({**fine, "route": {"polcy": "never_cloud"}}))
    for name, value in (("policy", "never_cloud"), ("strategy", "cheapest"), ("max_cost_usd", 0)):
        with pytest.raises(BadRequestError, match=f"^{name}: belongs into `route`"):
            read(codec.encode({**fine, name: value}))
    read(codec.encode({**fine, "policy": None, "metadata": {"user_id": '"policy"'}}))


@pytest.mark.parametrize(("read", "fine"), [one for one in READERS if "query" not in one[1]])
def test_a_mistyped_wish_of_caches_is_refused(read: Callable[[bytes], object], fine: dict[str, Any]) -> None:
    """An answer for one user alone is not kept because of a letter."""
    with pytest.raises(BadRequestError, match=r"cache\.user_specfic: .*did you mean user_specific"):
        read(codec.encode({**fine, "cache": {"user_specfic": True}}))


def test_a_client_refuses_it_before_anything_is_sent() -> None:
    """Texts, vectors and rankings alike."""
    wrong: Any = {"route": {"polcy": "never_cloud"}}
    for ask in (
        lambda: build(wrong, prompt="x", stream=False, deadline=1),
        lambda: Question("x", wrong),
        lambda: build_ranking("x", ["y"], wrong, 1),
    ):
        with pytest.raises(BadRequestError, match="did you mean policy"):
            ask()


def test_a_local_model_by_a_front_door_refuses_it_too() -> None:
    """Where the policy is written into a request that nobody has read yet."""
    with pytest.raises(BadRequestError, match="did you mean policy"):
        local_only(b'{"input": "x", "route": {"polcy": "never_cloud"}}')
