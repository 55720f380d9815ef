"""How long may the collector of garbage hold a process up?"""

import gc


def settle_garbage(objects: int = 50_000, runs: int = 20) -> None:
    """What start-up made stays: keep the collector from walking it, and have it run every so many new objects; what
    outlives that is looked at every so many `runs`.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(objects, runs, runs)
