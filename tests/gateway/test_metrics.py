"""What Prometheus reads."""

import json
from pathlib import Path

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from golek_wire import metrics as names
from tests.support.fronts import Fleet, GatewayProcess


async def figures(client: httpx2.AsyncClient, url: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """All samples, by name and labels."""
    answer = await client.get(f"{url}/metrics")
    assert answer.status_code == 200
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


async def test_requests_are_counted(fleet: Fleet) -> None:
    """By model, route, status and key; with tokens, times and errors. Names that callers make up are one row."""
    body = {"model": "golek-tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}
    with GatewayProcess(fleet.nats, fleet.data / "metrics") as gateway:
        async with httpx2.AsyncClient(base_url=gateway.url) as client:
            for given in (body, body | {"stream": True}):
                assert (await client.post("/v1/chat/completions", json=given)).status_code == 200
            for number in range(3):
                await client.post("/v1/chat/completions", json=body | {"model": f"made-up-{number}"})
                await client.get(f"/made/up/{number}")
            found = await figures(client, gateway.url)
    about = {"key": "anonymous", "route": "/v1/chat/completions"}

    def one(name: str, **labels: str) -> float:
        return found[name][tuple(sorted(labels.items()))]

    assert one("golek_requests_total", model="golek-tiny", status="200", **about) == 2
    assert one("golek_requests_total", model="other", status="404", **about) == 3
    assert one("golek_requests_total", model="", route="none", status="404", key="anonymous") == 3
    assert one("golek_errors_total", code="MODEL_NOT_FOUND") == 3
    assert one("golek_tokens_total", model="golek-tiny", direction="out") > 2
    assert one("golek_tokens_total", model="golek-tiny", direction="in") > 0
    assert one("golek_ttft_seconds_count", model="golek-tiny") == 1
    assert one("golek_inter_token_seconds_count", model="golek-tiny") == 1
    assert one("golek_request_seconds_count", route="/v1/chat/completions") == 5
    assert one("golek_open_requests") == 1
    assert one("golek_open_streams") == 0
    assert one("golek_model_up", model="golek-tiny") == 1
    assert one("golek_process_resident_memory_bytes") > 10e6


async def test_a_worker_tells_of_its_engine(fleet: Fleet) -> None:
    """Slots, queue and cache of its model; every name is one of the list."""
    async with httpx2.AsyncClient() as client:
        body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}
        assert (await client.post(f"{fleet.worker}/v1/chat/completions", json=body)).status_code == 200
        found = await figures(client, fleet.worker)
    suffixes = ("_total", "_created", "_bucket", "_sum", "_count")
    bare = {next((name.removesuffix(end) for end in suffixes if name.endswith(end)), name) for name in found}
    assert bare <= {metric.name for metric in names.ALL}
    ((labels, slots),) = found["golek_slots"].items()
    assert dict(labels)["model"] == "golek-tiny"
    assert slots == 8
    assert found["golek_queue_pending"]


async def test_each_request_has_a_line_in_the_access_log(fleet: Fleet) -> None:
    """The line that the reply's request id leads to, with the job and what it cost; no text of anybody."""
    data = fleet.data / "access"
    body = {"model": "golek-tiny", "messages": [{"role": "user", "content": "secret words"}], "max_tokens": 8}
    with GatewayProcess(fleet.nats, data) as gateway:
        async with httpx2.AsyncClient(base_url=gateway.url) as client:
            answer = await client.post("/v1/chat/completions?a=b", json=body)
    text = (data / "logs" / "api_access.log").read_text()
    (line,) = [one for one in map(json.loads, text.splitlines()) if one["request_id"] == answer.headers["x-request-id"]]
    assert (line["method"], line["path"], line["status"], line["key_id"], line["model"], line["tokens_out"]) == (
        "POST", "/v1/chat/completions", 200, "anonymous", "golek-tiny",
        answer.json()["usage"]["completion_tokens"],
    )  # fmt: skip
    assert (line["job_id"], line["worker"]) == (answer.headers["x-golek-job"], answer.headers.get("x-golek-worker", ""))
    assert line["bytes"] == len(answer.content)
    assert "secret" not in text


def test_the_gateways_own_log_lies_in_a_folder_of_its_own(fleet: Fleet) -> None:
    """`latest.txt` leads to it, and that of the workers never does."""
    data = fleet.data / "boot"
    with GatewayProcess(fleet.nats, data):
        pass
    latest = Path(data / "logs" / "gateway" / "latest.txt")
    events = [json.loads(line)["event"] for line in latest.read_text().splitlines()]
    assert "gateway.ready" in events
    assert not Path(data / "logs" / "_boot").exists()
