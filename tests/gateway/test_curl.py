"""What a person at a shell gets: curl lines."""

import json
import subprocess
from typing import Any

from tests.support.fronts import Fleet


def curl(*arguments: str) -> Any:
    """What curl prints, read as JSON."""
    done = subprocess.run(["curl", "-sS", "--max-time", "30", *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_process_answers(fleet: Fleet) -> None:
    """Worker and gateway live."""
    for url in (fleet.worker, fleet.gateway):
        assert curl(f"{url}/healthz") == {"status": "ok"}
