"""What is each step told?

`data/prompts/orchestration.yaml` is read strictly: what is missing or mistyped is an error that names file and key.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec
import yaml
from msgspec import Meta, Struct

from golek_wire.orchestration import Preset
from golek_worker.orchestration.base import Step

PROMPTS: Final = Path("data/prompts/orchestration.yaml")
WITH_FORM: Final = frozenset(["critique", "compare"])
"""Steps whose answer is read by us."""
STEPS: Final = ("answer", "generate", "critique", "revise", "rebut", "compare", "reconcile", "synthesize", "compress")
_STAGE: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
Line = Annotated[str, Meta(min_length=1, max_length=500)]
Text = Annotated[str, Meta(max_length=8000)]


class PromptsError(Exception):
    """The file of prompts cannot be used; the message names the file, the key, and what would be right."""


class StepPrompt(Struct, frozen=True, forbid_unknown_fields=True):
    """What one step is told."""

    goal: Line
    """What it has to decide: the trajectory's Next."""
    forbidden: Line
    """What it must not do: the trajectory's Forbidden."""
    instruction: Text = ""
    """Behind request and materials; empty where the request says it all."""
    form: Text = ""
    """Added for a model that is held to a schema."""
    words: Text = ""
    """Added instead for one that is not."""


class Prompts(Struct, frozen=True):
    """The file: all steps, and the stages that pipelines may have."""

    steps: dict[str, StepPrompt]
    stages: dict[str, StepPrompt]

    def of(self, name: str) -> StepPrompt:
        """The prompt of a step or a stage. Raises KeyError for one that `unknown_stages` would have named."""
        return self.steps[name] if name in self.steps else self.stages[name]

    def instruction(self, step: Step) -> str:
        """What `step` is told behind its materials, with the form of its answer."""
        prompt = self.of(step.name)
        form = "" if step.name not in WITH_FORM else prompt.words if step.schema is None else prompt.form
        return "\n\n".join(part for part in (prompt.instruction, form) if part)

    def unknown_stages(self, names: Iterable[str]) -> str:
        """What is wrong with these stages, for people; empty where all are there."""
        unknown = [name for name in names if name not in self.stages]
        if not unknown:
            return ""
        near = difflib.get_close_matches(unknown[0], self.stages, n=1)
        hint = f", did you mean {near[0]}?" if near else ""
        return (
            f"no stage {', '.join(unknown)}{hint}; there is {', '.join(self.stages)}, and one of your own may be added "
            f"to {PROMPTS}"
        )

    def wrong_stages(self, preset: Preset) -> str:
        """What is wrong with the stages of a preset; empty where all are there."""
        return self.unknown_stages(stage for stage, _ in preset.stages)


def read(file: Path = PROMPTS) -> Prompts:
    """The prompts in `file`. Raises PromptsError."""
    try:
        raw = yaml.safe_load(file.read_text("utf-8"))
    except FileNotFoundError:
        raise PromptsError(f"{file}: no such file; it ships with golek") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PromptsError(f"{file}: cannot be read: {error}") from None
    if not isinstance(raw, dict) or raw.keys() != {"steps", "stages"}:
        raise PromptsError(f"{file}: has the keys steps and stages, and no others")
    prompts = Prompts(**{section: _section(file, section, raw[section]) for section in ("steps", "stages")})
    if wrong := _wrong(prompts):
        raise PromptsError(f"{file}: {wrong}")
    return prompts


def stages(said: str) -> list[str]:
    """The names in a list with commas, such as INFERENCE_PIPELINE_STAGES has."""
    return [name.strip() for name in said.split(",") if name.strip()]


def _section(file: Path, section: str, raw: object) -> dict[str, StepPrompt]:
    if not isinstance(raw, dict):
        raise PromptsError(f"{file}: {section}: prompts by name")
    found = dict[str, StepPrompt]()
    for name, said in raw.items():
        try:
            found[str(name)] = msgspec.convert(said, StepPrompt)
        except msgspec.ValidationError as error:
            raise PromptsError(f"{file}: {section}.{name}: {error}") from None
    return found


def _wrong(prompts: Prompts) -> str:
    """The first thing that is, by its key."""
    for name in STEPS:
        if name not in prompts.steps:
            return f"steps.{name}: missing"
    for name, prompt in prompts.steps.items():
        if name not in STEPS:
            return f"steps.{name}: is no step; there is {', '.join(STEPS)}; stages stand below `stages`"
        if name in WITH_FORM and not (prompt.form and prompt.words):
            return f"steps.{name}: needs form and words, which say how its answer is written"
    return _wrong_stage(prompts.stages)


def _wrong_stage(named: Mapping[str, StepPrompt]) -> str:
    for name, prompt in named.items():
        if name in STEPS:
            return f"stages.{name}: is the name of a step"
        if not _STAGE.fullmatch(name):
            return f"stages.{name}: at most 64 of a-z 0-9 _ -, a letter first"
        if not prompt.instruction:
            return f"stages.{name}.instruction: missing"
        if prompt.form or prompt.words:
            return f"stages.{name}: form and words are for steps whose answer is read, not for stages"
    return "" if named else "stages: missing"
