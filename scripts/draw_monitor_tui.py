"""Draw the monitor's terminal as docs/monitor-tui*.svg: `python scripts/draw_monitor_tui.py`.

A sample fleet that works for some minutes, the same each time. Needs the dev requirements.
"""

import asyncio
import math
import random
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from golek_monitor.picture import Picture  # noqa: E402 - the project's own, from its folder
from golek_monitor.records import ReplicaRow  # noqa: E402
from golek_wire.signals import EngineStats, LoadReport, Traffic  # noqa: E402
from tests.support import fleets, screens  # noqa: E402

WORKERS = 12
SECONDS = 300
STALLED = "golek-tiny-host1-1"
SHOTS = {
    "monitor-tui": ((130, 34), ()),
    "monitor-tui-charts": ((130, 34), ("2",)),
    "monitor-tui-worker": ((110, 36), ("down", "down", "enter")),
    "monitor-tui-models": ((110, 30), ("3",)),
    "monitor-tui-light": ((80, 24), ("t",)),
}


def busy() -> Picture:
    """A fleet with some minutes behind it, of which one worker is lost."""
    time, drawn = fleets.Time(), random.Random(7)
    picture = fleets.picture(WORKERS, time)
    rows = {int(row.endpoint.rsplit(":", 1)[1]) - 5770: row for row in picture.replicas()}
    done, spent = [0.0] * WORKERS, [0.0] * WORKERS
    for second in range(1, SECONDS):
        time.passed += 1
        fleets.gateway(picture, time, second)
        fleets.records(picture, WORKERS, time)
        for number in range(WORKERS - (second > SECONDS - 40)):
            load = 0.5 + 0.4 * math.sin(second / 40 + number) + drawn.uniform(-0.1, 0.1)
            done[number] += 3 * load
            spent[number] += 3 * load * (400 + 600 * load)
            traffic = Traffic(
                requests=int(done[number]), errors=int(done[number] / 400), answered=int(done[number]),
                tokens_out=int(done[number] * 30), tokens_in=int(done[number] * 90), answered_ms=spent[number],
            )  # fmt: skip
            picture.report(report(rows[number], second, load, traffic))
        picture.tick()
    picture.missed(rows[WORKERS - 1].worker_id, "gone")
    picture.tick()
    return picture


def report(row: ReplicaRow, second: int, load: float, traffic: Traffic) -> LoadReport:
    """What a worker says in one of the seconds, with a load from 0 to 1."""
    late = second > SECONDS - 30
    waits = 3 if row.model_name == "qwen3-4b" and late else 0
    stats = EngineStats(
        tokens_per_s=60 * load, ttft_ms_p50=60 + 140 * load, itl_ms_p50=14.0, kv_use=0.1 + 0.75 * load,
        prefix_hit_rate=0.62,
    )  # fmt: skip
    return LoadReport(
        model_name=row.model_name, worker_id=row.worker_id, seq=second + 1, incarnation=row.incarnation,
        timestamp=datetime.fromtimestamp(fleets.NOON + second, UTC).isoformat(), worker_count=4, queue_capacity=2000,
        pending_messages=waits, active_processing=min(4, max(0, round(4 * load + 0.3))), last_token_age_ms=40,
        status="warning" if waits else "healthy", state="stalled" if late and row.worker_id == STALLED else "online",
        engine_stats=stats, traffic=traffic,
    )  # fmt: skip


async def main() -> None:
    """Draw all of them."""
    picture = busy()
    for name, (size, keys) in SHOTS.items():
        async with screens.monitor(picture, size) as (app, pilot):
            for key in keys:
                await pilot.press(key)
                await pilot.pause()
            await app.workers.wait_for_complete()
            await pilot.pause()
            svg = app.export_screenshot(title="golek monitor tui")
        svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # fonts from elsewhere: the reader's own will do
        (ROOT / "docs" / f"{name}.svg").write_text(re.sub(r"terminal-\d+", name, svg))


if __name__ == "__main__":
    asyncio.run(main())
