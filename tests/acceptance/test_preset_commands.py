"""`golek presets` with real workers: a preset of echo and golek-tiny is checked, started, asked, and served."""

import json
from pathlib import Path

import pytest

from golek_worker.machine import runfile
from tests.support.serving_process import Project
from tests.support.workers import ROOT

OWN = """
X1: {models: [echo, golek-tiny], mode: debate, roles: {echo: reconciler}, about: both here}
X2: {models: [echo, nobody-has-it], mode: ensemble}
"""
DEBATE = '{"input": "one two three", "params": {"max_tokens": 8}}'


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    (project.folder / "envs" / "worker.router.env").symlink_to(ROOT / "envs" / "worker.router.env")
    (project.folder / "config").mkdir()
    (project.folder / "config" / "presets.yaml").write_text(OWN)
    return project


def test_presets_are_listed_and_shown(project: Project) -> None:
    """Those that ship and the user's, with sizes, tier and what is here; for programs, too."""
    table = project.golek("presets", "list").stdout.splitlines()
    assert len(table) == 1 + 50 + 2
    assert table[0].split() == ["ID", "MODE", "SIZE", "GB", "STATED", "TIER", "MARK", "HERE", "MODELS"]
    d3 = next(line for line in table if line.startswith("D3 "))
    assert d3.split()[:6] == ["D3", "debate", "12.6", "12.3", "Full", "mac-tight"]
    rows = json.loads(project.golek("presets", "list", "--here", "--json").stdout)
    assert [(row["id"], row["here"], row["of"]) for row in rows] == [("X1", 2, 2)]
    shown = json.loads(project.golek("presets", "show", "X1", "--json").stdout)
    assert shown["who does what"] == {"reconciler": "echo", "compressor": "golek-tiny"}
    assert "there are single, critique" in project.golek("presets", "list", "--mode", "dabate").stderr
    said = project.golek("presets", "show", "x1")
    assert (said.returncode, said.stderr) == (1, "x1: no such preset; did you mean X1? `golek presets list` has all\n")


def test_a_check_says_what_is_in_the_way(project: Project) -> None:
    """With exit status 1, and a start does nothing then."""
    fine = project.golek("presets", "check", "X1")
    assert fine.returncode == 0
    assert fine.stdout.endswith("ok\n")
    wrong = project.golek("presets", "check", "X2")
    assert wrong.returncode == 1
    assert "nobody-has-it: unknown here" in wrong.stderr
    refused = project.golek("presets", "start", "X2")
    assert refused.returncode == 1
    assert "nobody-has-it: unknown here" in refused.stderr
    assert runfile.read_all(project.data) == []


def test_a_preset_is_started_and_asked(project: Project) -> None:
    """Its workers and a router; a second start finds them, and the preset answers by its name."""
    try:
        started = project.golek("presets", "start", "X1")
        assert started.returncode == 0, started.stderr
        assert "ask it: golek req inference.request.X1" in started.stdout
        pids = {one.deployment: one.pid for one in runfile.read_all(project.data)}
        assert set(pids) == {"echo", "golek-tiny", "router"}
        again = project.golek("presets", "start", "X1")
        assert again.returncode == 0
        assert "echo runs already (online)" in again.stdout
        assert {one.deployment: one.pid for one in runfile.read_all(project.data)} == pids
        assert "runs (online)" in project.golek("presets", "check", "X1").stdout
        asked = project.golek("req", "inference.request.X1", DEBATE, "--timeout=30s")
        assert asked.returncode == 0, asked.stderr
        reply = json.loads(asked.stdout)
        assert (reply["model"], reply["inference_metadata"]["config"]) == ("X1", "X1")
        assert (reply["orchestration"]["mode"], set(reply["orchestration"]["models_used"])) == (
            "debate",
            {"echo", "golek-tiny"},
        )
        names = json.loads(project.golek("route", "list", "--json").stdout)
        assert {one["name"]: one.get("mode") for one in names}["X1"] == "debate"
        missing = project.golek("req", "inference.request.X2", DEBATE, "--timeout=30s")
        assert "nobody-has-it" in missing.stdout + missing.stderr
    finally:
        project.golek("worker", "stop")


def test_serve_starts_what_a_preset_needs(project: Project) -> None:
    """With INFERENCE_CONFIG, as the env file of a service with presets has it; `auto` then stands for the preset."""
    with (project.folder / ".env").open("a") as file:
        file.write("INFERENCE_CONFIG=X1\n")
    with project.serve("--no-monitor") as serving:
        serving.wait_for("golek serve: echo, golek-tiny, router, by INFERENCE_CONFIG=X1")
        serving.wait_for("| ready at " + project.http)
        body = {"model": "auto", "messages": [{"role": "user", "content": "one two"}], "max_tokens": 8}
        said = project.asked("/v1/chat/completions", body)
        assert said["orchestration"]["mode"] == "debate"
        listed = project.asked("/v1/models")
        assert (listed["config"], listed["orchestration_mode"]) == ("X1", "debate")
        assert serving.end() == 0
