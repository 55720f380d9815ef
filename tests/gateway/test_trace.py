"""`golek trace` on a request that a real worker answered through the gateway."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2

from golek_client import Golek
from golek_monitor.logs import trace as printed
from golek_monitor.logs.explorer import Explorer
from tests.support.fronts import Fleet
from tests.support.workers import WorkerProcess

PATIENCE_S = 10.0


def trace(data: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """What is printed, once the rows are there: worker and gateway write them a moment after the answer."""
    command = [sys.executable, "-m", "golek_worker.cli", "trace", *arguments]
    environment = os.environ | {"GOLEK_DATA": str(data)}
    until = time.monotonic() + PATIENCE_S
    while True:
        found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
        if (found.returncode == 0 and "/v1/" in found.stdout) or time.monotonic() > until:
            return found


def test_a_request_over_http_is_found_by_each_of_its_ids(fleet: Fleet) -> None:
    """By x-request-id and by job id: its phases, its tokens, and the gateway's line."""
    body = {"model": "golek-tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
    answer = httpx2.post(f"{fleet.gateway}/v1/chat/completions", json=body, timeout=30)
    assert answer.status_code == 200
    found = trace(fleet.data, answer.headers["x-request-id"])
    assert found.returncode == 0, found.stderr
    assert "model    golek-tiny (inference)" in found.stdout
    assert "  decode  " in found.stdout
    assert f"{answer.json()['usage']['completion_tokens']} written" in found.stdout
    assert "POST /v1/chat/completions  200" in found.stdout
    assert "hi" not in found.stdout.split()
    job_id = found.stdout.split()[1]
    again = json.loads(trace(fleet.data, job_id, "--json").stdout)
    assert again["story"]["visits"][0]["request_id"] == answer.headers["x-request-id"]


async def test_a_job_that_lost_its_engine_says_so(nats_server: str, tmp_path: Path) -> None:
    """The second attempt is told as such, with the crash that cost the first."""
    with WorkerProcess(nats_server, tmp_path, ENGINE_STEP_MIN_MS=20) as worker:
        async with (
            Golek(nats_server) as golek,
            golek.stream("echo", "a b c", max_tokens=60, ignore_eos=True) as stream,
        ):
            await anext(stream)
            os.kill(worker.child.pid, signal.SIGKILL)
            await stream.text()
            job_id = stream.job_id
    story = (await Explorer(tmp_path).find(job_id)).story
    assert story is not None
    assert [one.request.attempt for one in story.attempts] == [2]
    assert "engine.down" in [event.code for event in story.events]
    assert "earlier tries" in "\n".join(printed.told(story))
