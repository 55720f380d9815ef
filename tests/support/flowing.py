"""A sample fleet with the load of a day: what its workers say goes up and down as it does where people ask."""

import math
import random
from dataclasses import dataclass, field

import msgspec

from golek_monitor.picture import Picture
from golek_wire.signals import Health, LoadReport, Traffic, load_level

TOKENS_PER_S = 22.0
"""Of one sequence."""
ANSWER_TOKENS = 120.0
WAVE_S = 150.0


@dataclass
class _Sums:
    """What a worker has done so far."""

    requests: float = 0.0
    errors: float = 0.0
    tokens: float = 0.0
    busy_ms: float = 0.0


@dataclass
class Flowing:
    """Stands between sample workers and the picture, and gives their words a load at the moment `at`, in seconds."""

    seen: Picture
    at: float = 0.0
    drawn: random.Random = field(default_factory=lambda: random.Random(7))
    _sums: dict[str, _Sums] = field(default_factory=dict[str, _Sums])

    def heartbeat(self, health: Health) -> None:
        """Pass it on."""
        self.seen.heartbeat(msgspec.structs.replace(health, active=self._active(health.worker_id, health.slots)))

    def report(self, report: LoadReport) -> None:
        """Pass it on with figures that go together."""
        sums = self._sums.setdefault(report.worker_id, _Sums())
        idle = report.state != "online"
        active = 0 if idle else self._active(report.worker_id, report.worker_count)
        speed = active * TOKENS_PER_S * self.drawn.uniform(0.94, 1.06) / (1 + 0.08 * active)
        answer_ms = 1000 * ANSWER_TOKENS / TOKENS_PER_S * (1 + 0.08 * active)
        sums.tokens += speed
        sums.requests += speed / ANSWER_TOKENS
        sums.errors += speed / ANSWER_TOKENS * 0.004
        sums.busy_ms += speed / ANSWER_TOKENS * answer_ms
        pending = self._pending(report.model_name)
        stats = report.engine_stats and msgspec.structs.replace(
            report.engine_stats,
            running=active,
            tokens_per_s=round(speed, 1),
            ttft_ms_p50=round(70 + 45 * active * self.drawn.uniform(0.9, 1.1), 1),
            kv_use=round(min(0.97, 0.04 + 0.21 * active), 3),
        )
        traffic = Traffic(
            requests=round(sums.requests), errors=round(sums.errors), answered=round(sums.requests),
            answered_ms=round(sums.busy_ms), tokens_out=round(sums.tokens), tokens_in=round(3 * sums.tokens),
        )  # fmt: skip
        level = load_level(pending, active, report.queue_capacity, stalled=report.state == "stalled")
        self.seen.report(
            msgspec.structs.replace(
                report, active_processing=active, pending_messages=pending, engine_stats=stats, traffic=traffic,
                status=level, utilization=round((pending + active) / report.queue_capacity, 4),
                last_token_age_ms=self.drawn.randint(8, 60) if active else 4000,
            )
        )  # fmt: skip

    def _load(self, name: str) -> float:
        """From 0 to a bit above 1."""
        phase = sum(name.encode()) % 100 / 16
        return 0.55 + 0.4 * math.sin(self.at / WAVE_S * math.tau + phase) + 0.15 * math.sin(self.at / 17 + phase)

    def _active(self, worker_id: str, slots: int) -> int:
        model = worker_id.rpartition("-host")[0]
        return max(0, min(slots, round(slots * (self._load(model) + self.drawn.uniform(-0.12, 0.12)))))

    def _pending(self, model: str) -> int:
        """Who finds no slot waits."""
        return max(0, round(30 * (self._load(model) - 0.85)))
