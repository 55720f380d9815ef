"""Who shares an answer with whom: by tables, and for any two requests."""

from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golek_wire.requests import EmbeddingRequest, InferenceRequest, Message, Params, Request, RerankRequest
from golek_wire.routing import CacheWish
from golek_worker.cache import keys, responses
from golek_worker.cache.base import Asked

GREEDY: Final = Params(temperature=0.0)
HELLO: Final = InferenceRequest(input="Hello", params=GREEDY)


def asked(request: Request = HELLO, **others: Any) -> Asked:
    usual: dict[str, Any] = {"principal": "alice", "kind": "inference", "model": "tiny", "deployment": "sha256:1"}
    return Asked(request=request, **usual | others)


OTHER_PARAMS: Final[dict[str, Any]] = {
    "max_tokens": 7, "temperature": 0.5, "top_k": 3, "top_p": 0.3, "min_p": 0.3, "typical_p": 0.3, "top_n_sigma": 1.0,
    "xtc_probability": 0.3, "xtc_threshold": 0.3, "repeat_penalty": 1.5, "frequency_penalty": 0.5,
    "presence_penalty": 0.5, "repeat_last_n": 3, "dry_multiplier": 1.0, "dry_base": 2.0, "dry_allowed_length": 3,
    "dry_penalty_last_n": 3, "dry_sequence_breakers": ["x"], "mirostat": 1, "mirostat_tau": 1.0, "mirostat_eta": 0.3,
    "logit_bias": {"1": 2.0}, "stop": "x", "stop_token_ids": [3], "n": 2, "best_of": 2, "logprobs": True,
    "top_logprobs": 2, "grammar": 'root ::= "x"', "regex": "x", "choice": ["x"], "ignore_eos": True,
}  # fmt: skip
OTHER_FIELDS: Final[dict[str, Any]] = {
    "input": "Bye", "raw": True, "tools": [{"type": "function"}], "tool_choice": "none", "parallel_tool_calls": False,
    "response_format": {"type": "json_object"}, "reasoning_effort": "low", "adapter": "pirate", "task_type": "code",
    "user": "bob", "session_id": "s", "resume": {"text": "x"}, "route": {"policy": "local_only"}, "extra": {"a": 1},
    "messages": [{"role": "user", "content": "Hello"}], "orchestration_mode": "debate",
    "orchestration": {"max_rounds": 1},
}  # fmt: skip


def changed(request: InferenceRequest, **fields: Any) -> InferenceRequest:
    return msgspec.convert(msgspec.to_builtins(request) | fields, InferenceRequest)


def looks_at(url: str) -> InferenceRequest:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    return InferenceRequest(messages=[Message("user", parts=parts)], params=GREEDY)


def test_every_field_of_a_request_is_said_to_matter_or_not() -> None:
    """A field that is added later divides answers, and its test is missed here."""
    decides = set(InferenceRequest.__struct_fields__) - keys.UNDECIDING - {"params", "seed"}
    assert set(OTHER_FIELDS) == decides
    assert set(OTHER_PARAMS) == set(Params.__struct_fields__) - {"seed"}


@pytest.mark.parametrize(("name", "value"), OTHER_FIELDS.items(), ids=str)
def test_requests_that_differ_in_a_field_share_nothing(name: str, value: Any) -> None:
    """Whatever may decide on an answer is in its key."""
    assert keys.key(asked(changed(HELLO, **{name: value}))) != keys.key(asked())


@pytest.mark.parametrize(("name", "value"), OTHER_PARAMS.items(), ids=str)
def test_requests_that_are_sampled_otherwise_share_nothing(name: str, value: Any) -> None:
    """Each parameter of sampling is in the key."""
    other = msgspec.structs.replace(HELLO, params=msgspec.structs.replace(GREEDY, **{name: value}))
    assert keys.key(asked(other)) != keys.key(asked())


@pytest.mark.parametrize(
    ("name", "value"),
    [("principal", "bob"), ("model", "tiny2"), ("deployment", "sha256:2"), ("adapter", "a.gguf@0.5"),
     ("prompt", "<user>Hello"), ("grammar", "root"), ("kind", "embedding"), ("allowed", "tiny,big")],
)  # fmt: skip
def test_what_is_not_in_the_request_divides_as_well(name: str, value: str) -> None:
    """Another tenant, file, adapter or template, other models that may answer: another key."""
    assert keys.key(asked(**{name: value})) != keys.key(asked())


@pytest.mark.parametrize(
    ("name", "value"),
    [("req_id", "r"), ("stream", True), ("deadline_ms", 5), ("priority", 3), ("reply_to", "x.y"),
     ("metadata", {"a": 1}), ("resumable", True), ("cache", {"mode": "exact"}), ("seed", 3)],
)  # fmt: skip
def test_how_it_is_answered_divides_nothing(name: str, value: Any) -> None:
    """A stream gets what was kept of a whole answer; to a greedy text the seed means nothing."""
    assert keys.key(asked(changed(HELLO, **{name: value}))) == keys.key(asked())


def test_seeds_divide_what_is_drawn_wherever_they_stand() -> None:
    """`seed` and `params.seed` are one field, of which the first wins."""
    drawn = InferenceRequest(input="Hello", seed=1)
    below = InferenceRequest(input="Hello", params=Params(seed=1))
    both = InferenceRequest(input="Hello", seed=1, params=Params(seed=2))
    assert keys.key(asked(drawn)) == keys.key(asked(below)) == keys.key(asked(both))
    assert keys.key(asked(drawn)) != keys.key(asked(InferenceRequest(input="Hello", seed=2)))


NAMES = st.text(alphabet="ab:/.\x00", min_size=1, max_size=4)


@given(*([NAMES] * 8))
def test_two_tenants_never_share(
    one: str, first: str, text: str, other: str, second: str, more: str, a: str, b: str
) -> None:
    """Whatever the names are, also those that would be equal when joined: equal keys mean equal askers and texts."""
    mine = asked(InferenceRequest(input=text, params=GREEDY), principal=one, deployment=first, adapter=a)
    theirs = asked(InferenceRequest(input=more, params=GREEDY), principal=other, deployment=second, adapter=b)
    assert (keys.key(mine) == keys.key(theirs)) == ((one, first, text, a) == (other, second, more, b))
    assert (keys.vector_key(mine, text) == keys.vector_key(theirs, more)) == (
        (one, first, text) == (other, second, more)
    )


def test_a_vector_is_kept_however_it_is_wanted() -> None:
    """Its width and encoding are made of the whole vector; a list shares with single texts."""
    one = asked(EmbeddingRequest("a"), kind="embedding")
    other = asked(EmbeddingRequest(["b", "a"], dimensions=3, encoding_format="base64"), kind="embedding")
    assert keys.vector_key(one, "a") == keys.vector_key(other, "a") != keys.vector_key(one, "b")


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (HELLO, ""),
        (InferenceRequest(input="Hello", seed=3), ""),
        (InferenceRequest(input="Hello", params=Params(seed=3)), ""),
        (InferenceRequest(input="Hello"), "each answer is another one"),
        (changed(HELLO, user="u"), "it is for one user"),
        (changed(HELLO, user=""), "it is for one user"),
        (changed(HELLO, session_id="s"), "it belongs to a conversation"),
        (changed(HELLO, resume={"text": "x"}), "it goes on with another answer"),
        (changed(HELLO, cache={"mode": "exact", "user_specific": True}), "it is for one user"),
        (changed(HELLO, cache={"mode": "exact", "time_sensitive": True}), "it depends on when it is asked"),
        (InferenceRequest(input="Hello", params=Params(temperature=0, max_tokens=0)), "it only counts"),
        (looks_at("https://example.com/now.png"), "what lies at an image's address may change"),
        (looks_at("data:image/png;base64,AAAA"), ""),
        (EmbeddingRequest("a"), ""),
        (EmbeddingRequest("a", user="u"), "it is for one user"),
        (EmbeddingRequest("a", cache=CacheWish(time_sensitive=True)), "it depends on when it is asked"),
        (RerankRequest("q", ["d"]), ""),
    ],
)
def test_what_may_never_be_kept(request_: Request, why: str) -> None:
    """Only what everybody would get again, and what is nobody's own."""
    assert responses.obstacle(request_) == why


@pytest.mark.parametrize(
    ("wish", "key", "model", "mode"),
    [
        (None, "", "off", "off"),
        (None, "", "exact", "exact"),
        (None, "exact", "off", "exact"),
        (None, "off", "exact", "off"),
        ("off", "exact", "exact", "off"),
        ("exact", "off", "off", "exact"),
        ("refresh", "", "off", "refresh"),
        ("auto", "semantic", "off", "semantic"),
    ],
)
def test_who_says_whether_a_cache_is_used(wish: Any, key: str, model: str, mode: str) -> None:
    """The request, else its key, else the model."""
    request = HELLO if wish is None else changed(HELLO, cache={"mode": wish})
    assert responses.mode(request, key, model) == mode
