"""vLLM's processes live and end as the contract of engines says."""

import pytest

from tests.engines.life import Life
from tests.vllm import place

pytestmark = [place.needs_vllm, pytest.mark.timeout(180)]
SUBJECTS = [place.SUBJECT]


class TestLife(Life):
    """Of its processes."""
