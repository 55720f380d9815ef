"""Published figures stand beside ours as they were measured."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def claims() -> ModuleType:
    """bench/claims.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("claims", ROOT / "bench" / "claims.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_what_was_measured() -> None:
    """Written by hand it would soon say something else."""
    found = claims()
    lines = json.loads(found.RESULTS.read_text())["figures"]
    page = found.PAGE.read_text()
    assert found.page(page, lines) == page


def test_every_published_figure_was_looked_at() -> None:
    """Each has a line, with a figure of ours or with what it needs."""
    found = claims()
    lines = {line["figure"]: line for line in json.loads(found.RESULTS.read_text())["figures"]}
    assert list(lines) == [claim.figure for claim in found.CLAIMS]
    assert all(line["ours"] is not None or line["needs"] for line in lines.values())
