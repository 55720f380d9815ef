"""Turn markers from `prompt_template.json`: what they make of conversations, and which files are refused."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from golek_wire.requests import Message
from golek_worker.machine import check
from golek_worker.prompt.turns import FILE, TurnMarkers, TurnMarkersError, find, read
from golek_worker.settings import Settings

MODELS = Path("data/models")
PLAIN = {"name": "x", "user_prefix": "[", "user_suffix": "]", "model_prefix": "<", "model_suffix": ">"}
WITH_SYSTEM = TurnMarkers("x", "[", "]", "<", ">", "(", ")")
NO_SYSTEM = TurnMarkers("x", "[", "]", "<", ">")


def deployment(named: str = "", model: str = "mine") -> Settings:
    return Settings(model_name=model, prompt_template=named)


def said(*turns: str) -> list[Message]:
    """Messages from `u:text` and the like."""
    roles: dict[str, Any] = {"s": "system", "d": "developer", "u": "user", "a": "assistant", "t": "tool"}
    return [Message(roles[turn[0]], turn[2:]) for turn in turns]


@pytest.mark.parametrize(
    ("turns", "with_system", "without"),
    [
        (["u:hi"], "[hi]<", "[hi]<"),
        (["u:hi", "a:ho", "u:he"], "[hi]<ho>[he]<", "[hi]<ho>[he]<"),
        (["s:be", "u:hi"], "(be)[hi]<", "[be\n\nhi]<"),
        (["s:be", "d:it", "u:hi", "u:ho"], "(be)(it)[hi][ho]<", "[be\n\nit\n\nhi][ho]<"),
        (["u:hi", "a:ho", "s:be", "u:he"], "[hi]<ho>(be)[he]<", "[hi]<ho>[be\n\nhe]<"),
        (["u:hi", "a:ho"], "[hi]<ho><", "[hi]<ho><"),
        (["s:be"], "(be)<", None),
        (["u:hi", "t:x"], None, None),
    ],
)
def test_turns_stand_between_their_markers(turns: list[str], with_system: str | None, without: str | None) -> None:
    """In order, ending where the model answers; the system's words have markers or go to the user's turn."""
    assert WITH_SYSTEM.render(said(*turns)) == with_system
    assert NO_SYSTEM.render(said(*turns)) == without


def test_tool_calls_have_no_markers() -> None:
    """They are not dropped silently."""
    assert NO_SYSTEM.render([*said("u:hi"), Message("assistant", "x", tool_calls=[{"id": "a"}])]) is None


def test_a_run_on_model_is_stopped_where_it_would_write_the_users_turn() -> None:
    """The user's prefix without the whitespace around it, beside the file's own; nothing for an empty one."""
    assert TurnMarkers("x", "\n<user>\n", "", "", "", stop=["<user>", "x"]).stops == ["<user>", "x"]
    assert TurnMarkers("x", "\n", "", "", "").stops == []


def test_the_shipped_templates_are_those_of_their_models() -> None:
    """Gemma has no system turn, ChatML has."""
    gemma, qwen = (read(MODELS / name / FILE, "") for name in ("gemma3-270m", "qwen3-4b"))
    assert gemma.render(said("s:be", "u:hi", "a:ho", "u:he")) == (
        "<start_of_turn>user\nbe\n\nhi<end_of_turn>\n<start_of_turn>model\nho<start_of_turn>user\nhe<end_of_turn>\n"
        "<start_of_turn>model\n"
    )
    assert qwen.render(said("s:be", "u:hi", "a:ho", "u:he")) == (
        "<|im_start|>system\nbe<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nho<|im_end|>\n"
        "<|im_start|>user\nhe<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("gemma3-270m/prompt_template.json", False),
        ("another/prompt_template.json", False),
        ("golek-tiny/model.gguf", False),
        ("gemma3-270m/model.gguf", True),
        ("qwen3-4b/model.gguf.part", True),
        ("another/model.gguf", True),
        ("loose.gguf", True),
    ],
)
def test_git_keeps_templates_and_ignores_downloaded_models(path: str, ignored: bool) -> None:
    """Weights of gigabytes do not end up in a commit."""
    command = ["git", "check-ignore", "--no-index", "--quiet", str(MODELS / path)]
    assert (subprocess.run(command, check=False).returncode == 0) == ignored


def test_the_file_beside_the_model_is_found(tmp_path: Path) -> None:
    """Without PROMPT_TEMPLATE; with it the other file counts, and neither is needed."""
    model = tmp_path / "model.gguf"
    assert find(deployment(), model) is None
    (tmp_path / FILE).write_text(json.dumps(PLAIN))
    named = tmp_path / "named.json"
    named.write_text(json.dumps({**PLAIN, "name": "named"}))
    beside = find(deployment(), model)
    assert beside is not None
    assert beside.name == "x"
    chosen = find(deployment(str(named)), model)
    assert chosen is not None
    assert chosen.name == "named"
    assert find(deployment(), None) is None
    shipped = find(deployment(model="gemma3-270m"), tmp_path / "elsewhere" / "model.gguf")
    assert shipped is not None
    assert shipped.name == "Gemma-3"


WRONG = [
    ("{", "not JSON"),
    ('{"name": "\udcff"}', "not JSON"),
    ("[]", "object"),
    (json.dumps({**PLAIN, "usr_prefix": ""}), "usr_prefix"),
    (json.dumps({k: v for k, v in PLAIN.items() if k != "model_suffix"}), "model_suffix"),
    (json.dumps({**PLAIN, "user_prefix": 3}), r"\$.user_prefix"),
    (json.dumps({**PLAIN, "stop": "x"}), r"\$.stop"),
    (json.dumps({**PLAIN, "stop": [""]}), r"\$.stop"),
    (json.dumps({**PLAIN, "system_prefix": "x"}), "system_suffix"),
    (None, "No such file"),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_a_wrong_file_is_told_with_its_key(tmp_path: Path, text: str | None, words: str) -> None:
    """And with the setting that names it."""
    file = tmp_path / "named.json"
    if text is not None:
        file.write_text(text, errors="surrogateescape")
    with pytest.raises(TurnMarkersError, match=rf"PROMPT_TEMPLATE={file}: .*{words}"):
        find(deployment(str(file)), None)


async def test_a_wrong_prompt_template_is_a_problem_before_the_start(tmp_path: Path) -> None:
    """`golek worker check` and `make start` say so, beside all else."""
    file = tmp_path / "worker.x.env"
    file.write_text(f"MODEL_NAME=x\nENGINE=echo\nGOLEK_DATA={tmp_path}\nPROMPT_TEMPLATE={tmp_path}/none.json\n")
    (problem,) = [line for line in await check.problems(file, {}) if "PROMPT" in line]
    assert problem == f"PROMPT_TEMPLATE={tmp_path}/none.json: cannot be read: No such file or directory"
