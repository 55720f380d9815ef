"""Pictures of fleets that never were: of any size, from the messages that such workers would send."""

import random
from datetime import UTC, datetime
from typing import Protocol

from golek_monitor.picture import Picture
from golek_wire.signals import (
    EngineStats,
    GatewayReport,
    Health,
    LoadReport,
    ModelInfo,
    ModelRecord,
    Traffic,
    WorkerStatus,
    load_level,
)

NOON = 1_767_355_200.0
"""2026-01-02T12:00:00Z, seconds since 1970."""
_MODELS = (
    ("gemma3-270m", "gemma3", "268M", ["text-generation", "grammar-constrained"]),
    ("qwen3-4b", "qwen3", "4.0B", ["text-generation", "reasoning", "tool-calling", "grammar-constrained"]),
    ("gpt-oss-20b", "gpt-oss", "20.9B", ["text-generation", "reasoning", "tool-calling"]),
    ("nomic-embed-v1.5", "nomic-bert", "137M", ["embeddings"]),
    ("golek-tiny", "llama", "3.4M", ["text-generation", "grammar-constrained"]),
)


class Hears(Protocol):
    """Whoever hears workers: a picture, or what stands before one."""

    def heartbeat(self, health: Health) -> None: ...

    def report(self, report: LoadReport) -> None: ...


class Time:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.passed = 0.0

    def clock(self) -> float:
        return 1000.0 + self.passed

    def wall(self) -> float:
        return NOON + self.passed


def picture(workers: int, time: Time | None = None) -> Picture:
    """The picture of a fleet of so many workers, the same each time; one in ten is stalled, drains or loads."""
    time = time or Time()
    drawn = random.Random(workers)
    seen = Picture("monitor-sample", clock=time.clock, wall=time.wall)
    records(seen, workers, time)
    for number in range(workers):
        say(seen, number, drawn, time)
    if workers:
        gateway(seen, time)
    return seen


def records(seen: Picture, workers: int, time: Time) -> None:
    """The bucket of models is read."""
    seen.know([_record(name, caps, time) for name, _, _, caps in _MODELS[: max(0, min(workers, len(_MODELS)))]])


def gateway(seen: Picture, time: Time, seq: int = 1) -> None:
    """The gateway reports."""
    seen.gateway(_gateway(time, seq))


def say(seen: Hears, number: int, drawn: random.Random, time: Time, seq: int = 1) -> None:
    """Worker `number` beats and reports."""
    name, architecture, size, capabilities = _MODELS[number % len(_MODELS)]
    states: tuple[WorkerStatus, ...] = ("stalled", "draining", "loading")
    chooser = drawn if seq == 1 else random.Random(number + seq // 20)  # one that goes on stays as it is for a while
    state: WorkerStatus = chooser.choice(states) if number % 10 == 9 else "online"
    refused = 3 if name == "qwen3-4b" else 0  # in a second, where a report comes each second
    worker_id, slots = f"{name}-host{number // 5 + 1}-1", 4
    active, pending = (drawn.randint(0, slots), drawn.choice((0, 0, 0, 3, 40))) if state == "online" else (0, 0)
    stats = EngineStats(
        window_s=60.0, running=active, tokens_per_s=round(drawn.uniform(10, 90), 1) if active else 0.0,
        ttft_ms_p50=round(drawn.uniform(20, 400), 1), itl_ms_p50=round(drawn.uniform(5, 40), 1),
        kv_use=round(drawn.random(), 3), prefix_hit_rate=round(drawn.random(), 3),
    )  # fmt: skip
    seen.heartbeat(
        Health(
            model_name=name, status=state, last_activity=_stamp(time.wall() - 2), capabilities=capabilities,
            endpoint=f"http://127.0.0.1:{5770 + number}", nats_topic=f"inference.request.{name}", version="0.1.0",
            model_info=ModelInfo(
                architecture=architecture, modalities=["text"], parameter_count=size, context_size=8192,
                embedding_size=640, quantization="Q4_K_M", model_family=architecture,
            ),
            worker_id=worker_id, engine="llamacpp", device="cpu", slots=slots, active=active,
            last_token_age_ms=drawn.randint(5, 900), engine_stats=stats, incarnation=f"i{number}",
            started_at="2026-01-02T10:00:00.000Z", progress=0.4 if state == "loading" else None,
        )
    )  # fmt: skip
    seen.report(
        LoadReport(
            model_name=name, pending_messages=pending, active_processing=active, timestamp=_stamp(time.wall()),
            worker_count=slots, queue_capacity=2000,
            status=load_level(pending, active, 2000, stalled=state == "stalled"),
            worker_id=worker_id, seq=seq, incarnation=f"i{number}", last_token_age_ms=drawn.randint(5, 900),
            utilization=round((pending + active) / 2000, 4), engine_stats=stats, state=state,
            traffic=Traffic(
                requests=100 * seq, errors=seq, answered=(99 - refused) * seq, refused=refused * seq,
                answered_ms=(99 - refused) * seq * 850.0,
                tokens_out=4000 * seq, tokens_in=1000 * seq,
            ),
        )
    )  # fmt: skip


def _record(name: str, capabilities: list[str], time: Time) -> ModelRecord:
    return ModelRecord(
        name=name, kinds=["embedding" if "embed" in name else "inference"], state="online", deployment=name,
        last_seen=_stamp(time.wall() - 10), context_size=8192, capabilities=capabilities,
    )  # fmt: skip


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _gateway(time: Time, seq: int) -> GatewayReport:
    return GatewayReport(
        gateway_id="gateway-host1", endpoint="http://127.0.0.1:8000", timestamp=_stamp(time.wall()), seq=seq,
        incarnation="g1", version="0.1.0", ready=True, open_requests=int(time.passed) % 7, open_streams=2,
        traffic=Traffic(requests=500 * seq, answered=480 * seq, answered_ms=480_000.0 * seq, tokens_out=20_000 * seq),
    )  # fmt: skip
