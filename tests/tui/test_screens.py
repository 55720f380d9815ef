"""The screens of the monitor's terminal, held equal to the files in `golden/`.

After an intended change write the files anew with `python -m tests.tui.test_screens` and read the difference.
"""

import asyncio
from pathlib import Path

import pytest

from tests.support import screens

GOLDEN = Path(__file__).parent / "golden"
TABS = {
    "fleet": "1",
    "charts": "2",
    "models": "3",
    "queue": "4",
    "letters": "5",
    "events": "6",
    "worker": "enter",
    "help": "question_mark",
}
FLEETS = (0, 1, 5, 200)
SIZES = {"80x24": screens.SMALL, "160x50": screens.LARGE}
SCREENS = [
    f"{tab}-{workers}-{size}"
    for tab in TABS
    for workers in FLEETS
    for size in SIZES
    if (tab, workers) != ("worker", 0) and (tab != "help" or workers == 5)
]


async def shown(name: str) -> str:
    """What stands on one of the screens."""
    tab, workers, size = name.split("-")
    async with screens.monitor(int(workers), SIZES[size]) as (app, pilot):
        await pilot.press(TABS[tab])
        await pilot.pause()
        await app.workers.wait_for_complete()
        await pilot.pause()
        return screens.text(app)


@pytest.mark.parametrize("name", SCREENS)
async def test_a_screen_looks_as_its_file_says(name: str) -> None:
    """Character by character, over fleets of 0, 1, 5 and 200 workers, on a small and a large terminal."""
    assert await shown(name) == (GOLDEN / f"{name}.txt").read_text()


def test_no_file_outlives_its_screen() -> None:
    """Each file is a screen's."""
    assert {file.stem for file in GOLDEN.glob("*.txt")} == set(SCREENS)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for old in GOLDEN.glob("*.txt"):
        old.unlink()
    for each in SCREENS:
        (GOLDEN / f"{each}.txt").write_text(asyncio.run(shown(each)))
