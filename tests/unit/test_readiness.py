"""Whether requests may be sent to a worker or a gateway, by table."""

from typing import Any

import pytest

from golek_client.fleet import ModelState, Replica
from golek_wire.signals import Health, ModelInfo, WorkerStatus
from golek_worker.gateway.readiness import NotReady, Ready, of_fleet, of_worker


def own(status: WorkerStatus, **given: Any) -> Health:
    return Health("tiny", status, "", [], "", "", "1", ModelInfo(), **given)


def model(name: str, *replicas: WorkerStatus) -> ModelState:
    return ModelState(name, None, [Replica(f"{name}-{i}", name, status) for i, status in enumerate(replicas)])


@pytest.mark.parametrize(
    ("said", "connected", "found"),
    [
        (own("online"), True, Ready(["tiny"])),
        (own("unloaded"), True, Ready([])),
        (own("online"), False, NotReady("The connection to NATS is away", "0/1")),
        (own("stalled"), True, NotReady("The engine makes no progress", "0/1")),
        (own("loading", progress=0.5), True, NotReady("Models still loading, 50% of it is done", "0/1")),
        (own("loading", problem="no memory"), True, NotReady("Models still loading: no memory", "0/1")),
        (own("draining"), True, NotReady("The worker is draining", "0/1")),
        (own("failed", problem="gone"), True, NotReady("The worker is failed: gone", "0/1")),
    ],
)
def test_a_worker_answers_for_its_model(said: Health, connected: bool, found: Ready | NotReady) -> None:
    """Ready while it takes requests; else why not."""
    assert of_worker(said, connected) == found


ONE, TWO = model("a", "online"), model("b", "loading")


@pytest.mark.parametrize(
    ("models", "connected", "begun", "found"),
    [
        ([ONE], True, False, Ready(["a"])),
        ([ONE], False, True, NotReady("The connection to NATS is away", "1/1")),
        ([], True, False, NotReady("No models are served", "0/0")),
        ([model("a", "offline")], True, False, NotReady("No models are served", "0/0")),
        ([ONE, TWO], True, False, NotReady("Models still loading", "1/2")),
        ([ONE, TWO], True, True, Ready(["a"])),
        ([TWO], True, True, NotReady("Models still loading", "0/1")),
        ([model("a", "stalled")], True, True, NotReady("The engines make no progress", "0/1")),
        ([model("a", "stalled"), ONE], True, False, Ready(["a"])),
        ([model("a", "unloaded")], True, False, Ready([])),
    ],
)
def test_a_gateway_answers_for_the_fleet(
    models: list[ModelState], connected: bool, begun: bool, found: Ready | NotReady
) -> None:
    """At its start it waits for all that are on their way; later one that serves is enough."""
    assert of_fleet(models, connected, begun=begun) == found
