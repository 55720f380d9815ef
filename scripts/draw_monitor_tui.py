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
SHOTS = {
    "monitor-tui": ((130, 34), ()),
    "monitor-tui-charts": ((130, 34), ("2",)),
    "monitor-tui-worker": ((110, 34), ("enter",)),
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
            picture.report(report(rows[number], number, second, load, done[number], spent[number], time))
        picture.tick()
    picture.missed(rows[WORKERS - 1].worker_id, "gone")
    picture.tick()
    return picture


def report(
    row: ReplicaRow, number: int, second: int, load: float, done: float, spent: float, time: fleets.Time
) -> LoadReport:
    """What worker `number` says: `load` of 1, and so many requests `done` in all."""
    model = row.model_name
    active, waits = (
        min(4, max(0, round(4 * load + 0.3))),
        max(0, round(9 * (load - 0.75))) if model == "qwen3-4b" else 0,
    )
    stats = EngineStats(
        running=active, tokens_per_s=60 * load, ttft_ms_p50=60 + 140 * load, itl_ms_p50=14.0, kv_use=0.1 + 0.75 * load,
        prefix_hit_rate=0.62,
    )  # fmt: skip
    return LoadReport(
        model_name=model, worker_id=row.worker_id, pending_messages=waits, active_processing=active,
        timestamp=datetime.fromtimestamp(time.wall(), UTC).isoformat(), worker_count=4, queue_capacity=2000, seq=second + 1,
        status="warning" if waits else "healthy", incarnation=f"i{number}", last_token_age_ms=40, engine_stats=stats,
        state="stalled" if number == 4 and second > SECONDS - 30 else "online",
        traffic=Traffic(
            requests=int(done), errors=int(done / 400), answered=int(done), tokens_out=int(done * 30),
            answered_ms=spent, tokens_in=int(done * 90),
        ),
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
