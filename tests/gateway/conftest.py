"""One fleet for all tests of this folder: broker, worker and gateway start once a session.

Tests that stop, kill or configure one of them start their own (tests/support/fronts.py, tests/support/workers.py).
"""

from collections.abc import Iterator

import pytest

from tests.support import fronts, minilm, reranker
from tests.support.fronts import Fleet
from tests.support.ports import free_port
from tests.support.shell import nothing_said
from tests.support.workers import WorkerProcess

EMBEDDER = "all-minilm-l6-v2"
JUDGE = "judge"


@pytest.fixture(scope="session", autouse=True)
def _nothing_of_the_shell() -> Iterator[None]:
    """As `_no_settings_of_the_shell`, for processes that outlive a test."""
    with nothing_said():
        yield


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Broker, golek-tiny and gateway, open to everybody."""
    tiny = {"HTTP_ADDR": f"127.0.0.1:{free_port()}", "MODEL_THREADS": 1}
    with fronts.fleet(tmp_path_factory.mktemp("fleet"), {"golek-tiny": tiny}) as found:
        yield found


@pytest.fixture(scope="session")
def embedder(fleet: Fleet) -> Iterator[str]:
    """The name of an embedding model in the fleet: all-MiniLM-L6-v2."""
    given = {"MODEL_NAME": EMBEDDER, "MODEL_PATH": minilm.model_file(), "MODEL_THREADS": 1, "HTTP_ADDR": ""}
    with WorkerProcess(fleet.nats, fleet.data / "embedder", "golek-tiny", **given):
        yield EMBEDDER


@pytest.fixture(scope="session")
def judge(fleet: Fleet) -> Iterator[str]:
    """The name of a reranker in the fleet, with random weights."""
    given = {"MODEL_NAME": JUDGE, "MODEL_PATH": reranker.model_file(), "MODEL_THREADS": 1, "HTTP_ADDR": ""}
    with WorkerProcess(fleet.nats, fleet.data / "judge", "golek-tiny", **given):
        yield JUDGE
