"""The contract of an engine: behaviours that hold for each of them, through its real child process.

A folder of tests has them for its own engines by one module (`test_engines.py` is the one for what golek installs):

    SUBJECTS = [Subject("mine", frozenset({"text", "seeds"}), lambda: nullcontext(EngineConfig(…)))]

    class TestWriting(Writing): ...
    class TestLife(Life): ...
"""

import pytest

pytest.register_assert_rewrite(
    "tests.engines.subject", "tests.engines.writing", "tests.engines.life", "tests.engines.pooled"
)
