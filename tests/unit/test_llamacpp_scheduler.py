"""The decisions of the llama.cpp engine, by table."""

from pathlib import Path

import pytest

from golek_wire.errors import ContextBudgetExceededError
from golek_worker.engine.budget import token_limit
from golek_worker.engine.llamacpp import scheduler
from golek_worker.engine.llamacpp.threads import cpu_limit, thread_count, usable_cores


@pytest.mark.parametrize(
    ("decoding", "idle", "rows"),
    [
        ([0, 1, 2], [3], [0, 1, 2]),
        ([2, 0], [1], [0, 2]),  # two single rows are quicker apart
        ([3, 2, 0], [1], [0, 1, 2, 3]),
        ([3, 4, 0], [1, 2], [0, 3, 4]),
        ([0, 1, 3, 4], [], [0, 1, 3, 4]),  # slot 2 reads its prompt
        ([0, 1, 7, 8], [2, 3, 4, 5, 6], [0, 1, 7, 8]),  # a hole that costs more than a pass
        ([5], [0, 1, 2, 3, 4], [5]),
        ([], [0], []),
    ],
)
def test_small_holes_of_idle_slots_are_computed_along(decoding: list[int], idle: list[int], rows: list[int]) -> None:
    """Rows without holes share one pass over the weights; a slot that reads its prompt is left alone."""
    assert scheduler.decode_rows(decoding, idle.__contains__) == rows


@pytest.mark.parametrize(
    ("rests", "budget", "chunks"),
    [
        ([65], 64, [(0, 65)]),  # a rest too small for a call of its own comes along
        ([200], 64, [(0, 64)]),
        ([200], 10, [(0, 64)]),  # never less than pays
        ([1000], 2000, [(0, 448), (0, 448), (0, 104)]),
        ([4000, 60, 50], 256, [(0, 128), (2, 50), (1, 60)]),
        ([4000, 300, 90], 256, [(0, 128), (2, 90)]),
        ([30, 4000], 256, [(0, 30), (1, 192)]),
        ([64] * 8, 128, [(0, 64), (1, 64)]),
    ],
)
def test_prompts_share_the_budget(rests: list[int], budget: int, chunks: list[tuple[int, int]]) -> None:
    """The oldest has half of it, the shortest come next."""
    assert scheduler.read_chunks(rests, budget) == chunks


@pytest.mark.parametrize(("readers", "writers", "seconds"), [(3, 0, 0.25), (1, 8, 0.1), (3, 8, 0.3), (30, 1, 0.5)])
def test_prompts_have_the_time_that_writers_spare(readers: int, writers: int, seconds: float) -> None:
    """More for many prompts, and a bounded time in any case."""
    assert scheduler.read_seconds(readers, writers) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("wanted", "cores", "size", "threads"),
    [(6, 4, 1, 6), (0, 4, 4 << 20, 1), (0, 4, 9 << 20, 2), (0, 4, 4 << 30, 4), (0, 1, 4 << 30, 1)],
)
def test_threads_follow_cores_and_model(wanted: int, cores: int, size: int, threads: int) -> None:
    """What is asked for counts; else one per physical core, fewer for a small model."""
    assert thread_count(wanted, cores, size) == threads


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        ("0::/", {"cpu.max": "max 100000\n"}, None),
        ("0::/a/b\n", {"a/cpu.max": "150000 100000", "a/b/cpu.max": "400000 100000"}, 1.5),
        ("0::/not/here", {"cpu.max": "200000 100000"}, 2.0),  # a container that sees its host's path
        (
            "9:cpu,cpuacct:/x",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "-1", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"},
            None,
        ),
        ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
        ("4:memory:/", {"cpu.max": "1 1"}, None),
    ],
)
def test_a_containers_limit_is_found(tmp_path: Path, own: str, files: dict[str, str], limit: float | None) -> None:
    """The tightest of all levels, of both versions of control groups."""
    groups = tmp_path / "cgroup"
    for name, content in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(content)
    (tmp_path / "own").write_text(own)
    assert cpu_limit(groups, tmp_path / "own") == limit


def test_cores_that_the_process_may_not_use_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """One allowed CPU is one core at most."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0}, raising=False)
    assert usable_cores() == 1


def test_without_max_tokens_the_context_is_the_limit() -> None:
    """An answer may fill what the prompt leaves."""
    assert token_limit(100, None, 512) == 412


def test_max_tokens_may_fill_the_context_exactly() -> None:
    """Prompt and answer together may be as long as the context."""
    assert token_limit(100, 412, 512) == 412


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "current", "words"),
    [(512, None, 512, ["512"]), (100, 413, 513, ["100", "413", "512", "412"])],
)
def test_what_does_not_fit_is_refused_with_its_numbers(
    prompt: int, max_tokens: int | None, current: int, words: list[str]
) -> None:
    """The refusal names prompt, max_tokens, context and what would fit."""
    with pytest.raises(ContextBudgetExceededError) as raised:
        token_limit(prompt, max_tokens, 512)
    assert (raised.value.current_tokens, raised.value.budget) == (current, 512)
    assert all(word in raised.value.message for word in words)
