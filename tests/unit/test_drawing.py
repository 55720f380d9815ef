"""Wishes for a draw that exclude each other are refused, by client and worker alike."""

from typing import Any

import pytest

from golek_wire import codec
from golek_wire.errors import BadRequestError


def decode(params: dict[str, Any], **fields: Any) -> None:
    codec.decode_request(codec.encode({"input": "hi", "params": params} | fields))


@pytest.mark.parametrize(
    ("params", "fields", "param", "words"),
    [
        ({"n": 3, "best_of": 2}, {}, "params.best_of", "3"),
        ({"best_of": 2}, {"stream": True}, "params.best_of", "stream"),
        ({"n": 17}, {}, "params.n", "16"),
        ({"top_logprobs": 2}, {}, "params.top_logprobs", "logprobs"),
        ({"n": 2}, {"resume": {"text": "a"}}, "resume", "params.n"),
        ({"logprobs": True}, {"resume": {"text": "a"}}, "resume", "logprobs"),
        ({"logit_bias": {"yes": 1}}, {}, "params.logit_bias", "'yes'"),
        ({"logit_bias": {"-1": 1}}, {}, "params.logit_bias", "'-1'"),
        ({"repeat_penalty": 1e-30}, {}, "params.repeat_penalty", "0.001"),
        ({"dry_sequence_breakers": ["é" * 21]}, {}, "params.dry_sequence_breakers", "42"),
        ({"dry_sequence_breakers": [""]}, {}, "params.dry_sequence_breakers", "0"),
        ({"dry_sequence_breakers": ["a\0b"]}, {}, "params.dry_sequence_breakers", "NUL"),
    ],
)
def test_what_cannot_be_is_refused(params: dict[str, Any], fields: dict[str, Any], param: str, words: str) -> None:
    """The error names the field and why."""
    with pytest.raises(BadRequestError) as raised:
        decode(params, **fields)
    assert raised.value.details["param"] == param
    assert words in raised.value.message


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        ({"n": 2, "best_of": 2}, {"stream": True}),
        ({"n": 2, "best_of": 4}, {}),
        ({"n": 1, "best_of": 1}, {"resume": {"text": "a"}}),
        ({"logprobs": True, "top_logprobs": 20}, {"stream": True}),
        ({"logit_bias": {"7": -100, "008": 2.5}}, {}),
        ({"dry_sequence_breakers": []}, {}),
    ],
)
def test_what_goes_together_is_taken(params: dict[str, Any], fields: dict[str, Any]) -> None:
    """No rule refuses more than it says."""
    decode(params, **fields)
