"""How many threads compute a step?

Pure, and without llama.cpp: the parent asks it too.
"""


def thread_count(wanted: int, physical_cores: int, model_bytes: int) -> int:
    """CPU threads of a decode step: `wanted`, or with 0 one per physical core.

    A small model gets fewer, one per 8 MiB. Its threads meet every few microseconds and wait by spinning:
    where other processes want the cores too, more threads are many times slower (4 MB model, 4 busy cores, 8 slots:
    2,200 tokens/s with one thread, 4,300 with two, 200 to 700 with three).
    """
    return wanted or min(physical_cores, 1 + model_bytes // (8 * 1024 * 1024))
