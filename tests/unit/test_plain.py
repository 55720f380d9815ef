"""Behind which answers may another replica go on?"""

import json
from typing import Any

import pytest

from golek_worker.bus.plain import can_go_on


@pytest.mark.parametrize(
    "fields", [{}, {"params": {"max_tokens": 5}}, {"response_format": {"type": "text"}}, {"resume": {"text": "b"}}]
)
def test_one_plain_text_is_gone_on_from(fields: dict[str, Any]) -> None:
    assert can_go_on(json.dumps({"input": "a", **fields}).encode())


@pytest.mark.parametrize(
    "fields",
    [
        {"params": {"n": 2}},
        {"params": {"logprobs": True}},
        {"params": {"grammar": 'root ::= "a"'}},
        {"params": {"regex": "a+"}},
        {"params": {"choice": ["a", "b"]}},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
    ],
)
def test_what_has_a_form_is_written_again(fields: dict[str, Any]) -> None:
    assert not can_go_on(json.dumps({"input": "a", **fields}).encode())


def test_a_request_that_lies_elsewhere_is_written_again() -> None:
    """Nobody here knows what it asks for."""
    assert not can_go_on(b"")
