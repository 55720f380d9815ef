"""What Prometheus reads of the monitor."""

import shutil
import subprocess

import httpx2
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from golek_monitor.picture import Picture
from golek_monitor.web import metrics
from golek_monitor.web.access import Access
from golek_wire import metrics as names
from tests.support import sample_monitor

Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]


async def figures(web: httpx2.AsyncClient) -> Samples:
    """All samples, by name and labels."""
    answer = await web.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found: Samples = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def one(found: Samples, name: str, **labels: str) -> float:
    return found[name][tuple(sorted(labels.items()))]


async def test_figures_are_those_of_the_fleet(web: httpx2.AsyncClient, seen: Picture) -> None:
    """Of models, replicas and gateways, in base units, under the names that gateways use as well."""
    row, service = seen.replicas()[0], seen.services()[0]
    of_row = {"model": row.model_name, "worker": row.worker_id}
    found = await figures(web)
    assert one(found, "golek_model_up", model=service.model_name) == service.in_rotation
    assert one(found, "golek_queue_pending", model=service.model_name) == service.queue_metrics.pending_messages
    assert one(found, "golek_slots", **of_row) == row.slots
    assert one(found, "golek_in_rotation", **of_row) == one(found, "golek_worker_up", **of_row) == 1
    assert row.last_token_age_ms is not None
    assert one(found, "golek_last_token_age_seconds", **of_row) == row.last_token_age_ms / 1000
    assert one(found, "golek_gateway_ready", gateway="gateway-host1") == 1
    assert one(found, "golek_alerts_firing", kind="worker_lost", severity="critical") == 0
    assert one(found, "golek_bus_connected") == 1
    assert one(found, "golek_process_cpu_seconds_total") > 0
    assert one(found, "golek_process_resident_memory_bytes") > 10e6
    info = {"engine": "llamacpp", "device": "cpu", "version": "0.1.0"}
    assert one(found, "golek_worker_info", **of_row, **info) == 1


async def test_only_listed_figures_are_told(web: httpx2.AsyncClient) -> None:
    """With the labels of the list, so that rules and dashboards can rely on it."""
    listed = {f"{one.name}_total" if one.kind == "counter" else one.name: one for one in metrics.OF_MONITOR}
    assert set(metrics.OF_MONITOR) <= set(names.ALL)
    for name, samples in (await figures(web)).items():
        assert {key for labels in samples for key, _ in labels} == set(listed[name].labels)


async def test_who_is_lost_is_down_and_says_nothing_else(web: httpx2.AsyncClient, seen: Picture) -> None:
    """Figures of the past would look like those of now."""
    row = seen.replicas()[0]
    of_row = {"model": row.model_name, "worker": row.worker_id}
    seen.missed(row.worker_id, "gone")
    found = await figures(web)
    assert one(found, "golek_worker_up", **of_row) == one(found, "golek_in_rotation", **of_row) == 0
    assert tuple(sorted(of_row.items())) not in found["golek_slots"]


async def test_a_model_that_was_stopped_is_not_called_down(web: httpx2.AsyncClient, seen: Picture) -> None:
    """Nor its worker: no rule pages somebody for it."""
    health = seen.view.everyone()[0].health
    assert health is not None
    seen.heartbeat(msgspec.structs.replace(health, status="offline"))
    found = await figures(web)
    for name in ("golek_model_up", "golek_worker_up"):
        assert found[name]
        assert health.model_name not in {dict(labels)["model"] for labels in found[name]}


async def test_words_of_all_kinds_are_written_right(web: httpx2.AsyncClient, seen: Picture) -> None:
    """What a label must not hold is escaped, for a worker may call its device anything."""
    health = seen.view.everyone()[0].health
    assert health is not None
    device = 'quo"te\\d\nname'
    seen.heartbeat(msgspec.structs.replace(health, device=device))
    found = (await figures(web))["golek_worker_info"]
    assert device in {dict(labels)["device"] for labels in found}


async def test_promtool_finds_nothing_to_complain_of(web: httpx2.AsyncClient) -> None:
    """Names, types and sentences as Prometheus wants them."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool on this machine; scripts/install_test_programs.sh installs it")
    said = (await web.get("/metrics")).content
    done = subprocess.run([promtool, "check", "metrics"], input=said, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


async def test_from_other_machines_figures_want_the_key(seen: Picture) -> None:
    """As looking does: names of models and of machines stand in them."""
    async with (
        sample_monitor.serving(seen, access=Access("s3cret", public=True)) as url,
        httpx2.AsyncClient(base_url=url) as client,
    ):
        assert (await client.get("/metrics")).status_code == 401
        right = {"authorization": "Bearer s3cret"}
        assert (await client.get("/metrics", headers=right)).status_code == 200
