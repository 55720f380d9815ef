"""What README.md and docs/http.md print about HTTP runs as it stands there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.fronts import Fleet
from tests.support.workers import ROOT

PAGE = (ROOT / "README.md").read_text("utf-8")
SECTION = PAGE.partition("## Over HTTP")[2].partition("\n## ")[0]
ADDRESS = "http://127.0.0.1:8000"


def test_the_curl_line(fleet: Fleet) -> None:
    """It answers what a lease is."""
    ((line,),) = [re.findall(r"\$ (curl .*?\}')\n", SECTION, re.DOTALL)]
    command = line.replace(ADDRESS, fleet.gateway)
    done = subprocess.run(["bash", "-c", f"{command} -s"], capture_output=True, text=True, timeout=30, check=True)
    assert "lease" in json.loads(done.stdout)["choices"][0]["message"]["content"]


def test_openai_s_client(fleet: Fleet) -> None:
    """It prints the answer while it is written."""
    (block,) = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", block.replace(ADDRESS, fleet.gateway)],
        env=os.environ | {"NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=40,
        check=True,
    )
    assert "ackpressure" in done.stdout


def test_a_stream_is_read_on(fleet: Fleet, tmp_path: Path) -> None:
    """The lines of docs/http.md: the second answer is the first one's from event 1 on."""
    page = (ROOT / "docs" / "http.md").read_text("utf-8").partition("## A stream that outlives")[2]
    block = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)[0].replace(ADDRESS, fleet.gateway)
    done = subprocess.run(
        ["bash", "-ec", block], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True
    )  # fmt: skip
    first, again, left = done.stdout.split("data: [DONE]\n\n")
    assert (first.startswith("id: 0\n"), left) == (True, "")
    assert again == first[first.index("id: 1\n") :]
