"""The frames between a worker and its engine's child, held equal to `golden/engine/frames.json`.

Parent and child are always of one version, but a trace written down today should be readable tomorrow. After an
intended change write the file anew with `python -m tests.contract.test_frames` and read the difference.
"""

import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from golek_wire.errors import ContextBudgetExceededError
from golek_wire.replies import Delta
from golek_wire.requests import Params, Resume
from golek_wire.signals import ModelInfo
from golek_worker.engine import base
from golek_worker.output import Output

GOLDEN = Path(__file__).parent / "golden" / "engine" / "frames.json"
FRAMES: dict[str, Any] = {
    "config": base.EngineConfig("llamacpp", "data/models/golek-tiny/model.gguf", 4, 512, 2, step_min_ms=20.0),
    "submit-smallest": base.Submit("job1", "hello", Params(), 7),
    "submit-full": base.Submit(
        "job2",
        "hällo",
        Params(max_tokens=5, temperature=0.0, stop=["\n"], grammar='root ::= "x"'),
        8,
        stream=True,
        output=Output("marked", ("<think>", "</think>"), "tool_call", one_call=True, begun="<think>"),
        resume=Resume("wör", 2),
        constraint=base.Constraint("gbnf", 'root ::= "x"'),
        adapter="pirate",
        cuts=[2],
        least_room=128,
        images=[b"\x89PNG"],
        image_fields=["image"],
        priority=3,
    ),
    "load-adapter": base.LoadAdapter("pirate", "data/adapters/pirate.gguf", 0.5),
    "unload-adapter": base.UnloadAdapter("pirate"),
    "adapter-changed": base.AdapterChanged("pirate", ["pirate"]),
    "rank": base.Rank("job4", "rivers", ["The Nile is long", "Snow"]),
    "embed": base.Embed("job3", ["hello", "wörld"]),
    "classify": base.Classify("job5", [b"\x89PNG", b""]),
    "cancel": base.Cancel("job1"),
    "exit": base.Exit(),
    "phase": base.Phase("loading", 1024, 4096),
    "ready": base.Ready(
        ModelInfo("llama", ["text"], "1.9M", 512, 192, "F16", "llama", 1024, 4362144),
        ["text"],
        "cpu",
        4,
        512,
        "{{ messages }}",
        "<s>",
        "</s>",
    ),
    "step": base.Step(12, 3, 2.5, 1),
    "step-measured": base.Step(12, 3, 2.5, 1, base.Gauges(3, 1, 90, 2048, 40, 300, 64, 1, 55, 20, 58, 1.5, 1.25)),
    "tokens": base.Tokens(13, [("job1", "Hel"), ("job2", "lo 🌍"), ("job3", Delta(reasoning_content="Hm"))]),
    "finished": base.Finished("job1", "Hello", "stop", 3, 2),
    "ranked": base.Ranked("job4", [3.25, -7.5], 14),
    "embedded": base.Embedded("job3", [[0.6, -0.8], [1.0, 0.0]], 5, [2, 3]),
    "classified": base.Classified("job5", [[0.75, 0.25], [0.5, 0.5]]),
    "stopped": base.Stopped("job1", 3, 1),
    "refused": base.refusal("job1", ContextBudgetExceededError(600, 512)),
    "load-failed": base.LoadFailed("model.gguf: no such file"),
}
COMMANDS, EVENTS = get_args(base.EngineCommand), get_args(base.EngineEvent)


def kind_of(message: object) -> Any:
    """The union that the reader of `message` decodes."""
    if isinstance(message, base.EngineConfig):
        return base.EngineConfig
    return base.EngineCommand if isinstance(message, COMMANDS) else base.EngineEvent


def golden() -> dict[str, Any]:
    return {
        name: {"message": json.loads(msgspec.json.encode(message)), "frame": base.frame(message).hex()}
        for name, message in FRAMES.items()
    }


def test_frames_look_as_the_file_says() -> None:
    """Length, msgpack map and field names, byte for byte."""
    assert golden() == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_is_read_as_its_message(name: str) -> None:
    """Reading what was written gives the same message."""
    data = bytes.fromhex(json.loads(GOLDEN.read_text())[name]["frame"])
    assert base.FrameReader[Any](kind_of(FRAMES[name])).feed(data) == [FRAMES[name]]


def test_every_command_and_event_has_an_example() -> None:
    """A new message needs a golden frame."""
    assert {type(message) for message in FRAMES.values()} == {base.EngineConfig, *COMMANDS, *EVENTS}


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_frames_may_arrive_in_any_pieces(size: int) -> None:
    """A socket cuts where it likes; each message comes out once, in order."""
    events = [message for message in FRAMES.values() if isinstance(message, EVENTS)]
    data = b"".join(map(base.frame, events))
    reader: base.FrameReader[Any] = base.FrameReader(base.EngineEvent)
    read = [message for start in range(0, len(data), size) for message in reader.feed(data[start : start + size])]
    assert read == events


def test_an_absurd_length_is_refused() -> None:
    """A reader out of step says so instead of waiting for gigabytes."""
    with pytest.raises(ValueError, match="at most"):
        base.FrameReader[Any](base.EngineEvent).feed(b"\xff\xff\xff\xff")


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(golden(), indent=2, ensure_ascii=False) + "\n")
