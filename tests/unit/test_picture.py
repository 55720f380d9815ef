"""What the monitor knows, from messages alone."""

import msgspec
import pytest

from tests.support.fleets import picture


@pytest.mark.parametrize("workers", [0, 1, 5, 200])
def test_every_worker_and_model_stands_in_the_picture(workers: int) -> None:
    """A row for each worker, a service for each model, and figures of all together."""
    seen = picture(workers)
    now = seen.now()
    assert len(now.replicas) == now.overview.workers == workers
    assert len(now.services) == now.overview.models == min(workers, 5)
    assert sum(row.in_rotation for row in now.replicas) == now.overview.workers_online
    assert msgspec.json.decode(msgspec.json.encode(now), type=type(now)) == now
