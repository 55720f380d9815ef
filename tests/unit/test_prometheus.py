"""The rules for Prometheus and the dashboard for Grafana, loaded and tried."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from golek_wire import metrics

RULES = Path("scripts/prometheus/alerts.yml")
DASHBOARD = Path("scripts/grafana/golek.json")
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="no promtool on this machine; scripts/install_test_programs.sh installs it"
)


def promtool(*words: str) -> str:
    """What promtool says; it must be content."""
    done = subprocess.run([PROMTOOL or "", *words], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return list(group["rules"])


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"] if panel["type"] != "row"]


def questions() -> list[str]:
    """Every expression of the rules and of the dashboard."""
    asked = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [*(rule["expr"] for rule in rules()), *asked]


def told(metric: metrics.Metric) -> set[str]:
    """Under which names Prometheus has it."""
    ends = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    return {metric.name + end for end in ends[metric.kind]}


def test_only_figures_that_are_told_are_asked_for() -> None:
    """A name that golek_wire/metrics.py does not have would be a line that stays empty, or a rule that never fires."""
    known = {name for metric in metrics.ALL for name in told(metric)}
    asked = {name for question in questions() for name in re.findall(r"\bgolek_\w+", question)}
    variables = set(re.findall(r"golek_\w+", json.dumps(json.loads(DASHBOARD.read_text())["templating"])))
    assert len(asked) > 30
    assert (asked | variables) - known == set()


def test_labels_are_those_of_the_figures() -> None:
    """What is grouped by is a label of something; `instance` and `job` are Prometheus' own."""
    known = {label for metric in metrics.ALL for label in metric.labels} | {"le", "instance", "job"}
    grouped = {
        label for question in questions() for by in re.findall(r"by \(([^)]+)\)", question) for label in by.split(", ")
    }
    shown = {
        name
        for panel in panels()
        for target in panel["targets"]
        for name in re.findall(r"{{(\w+)}}", target["legendFormat"])
    }
    assert (grouped | shown) - known == set()


def test_names_follow_conventions() -> None:
    """`golek_` first, lower case, base units; counters leave `_total` to who writes them; each has a sentence."""
    assert len({metric.name for metric in metrics.ALL}) == len(metrics.ALL)
    for metric in metrics.ALL:
        assert re.fullmatch(r"golek_[a-z_]+[a-z]", metric.name), metric.name
        assert not metric.name.endswith(("_total", "_ms", "_milliseconds", "_percent"))
        assert metric.help.endswith(".")


def test_every_rule_says_what_is_so_and_what_to_do() -> None:
    """With a severity, unless the figure has one."""
    for rule in rules():
        assert rule["annotations"].keys() == {"summary", "description"}, rule["alert"]
        assert rule["alert"] == "GolekAlert" or rule["labels"]["severity"] in ("warning", "critical")


def test_panels_have_places_of_their_own() -> None:
    """None lies on another one, and each has a number."""
    everything = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    cells = [
        (x, y)
        for panel in everything
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
    assert len({panel["id"] for panel in everything}) == len(everything)


@needs_promtool
def test_prometheus_loads_them() -> None:
    """The example of a configuration, and the rules that it names."""
    promtool("check", "config", "scripts/prometheus/prometheus.yml")


@needs_promtool
def test_rules_fire_when_they_should() -> None:
    """And not else, as scripts/prometheus/alerts_test.yml has it; each rule is tried there."""
    promtool("test", "rules", "scripts/prometheus/alerts_test.yml")
    tried = Path("scripts/prometheus/alerts_test.yml").read_text("utf-8")
    assert [rule["alert"] for rule in rules() if rule["alert"] not in tried] == []


@needs_promtool
def test_the_dashboard_asks_what_prometheus_understands(tmp_path: Path) -> None:
    """Each expression, with its variables as Grafana would put them."""
    asked = [target["expr"] for panel in panels() for target in panel["targets"]]
    plain = [
        question.replace("$__rate_interval", "1m").replace("$model", ".*").replace("$worker", ".*")
        for question in asked
    ]
    group = {"name": "g", "rules": [{"record": f"asked:{n}:x", "expr": question} for n, question in enumerate(plain)]}
    file = tmp_path / "asked.yml"
    file.write_text(yaml.safe_dump({"groups": [group]}), "utf-8")
    promtool("check", "rules", str(file))
