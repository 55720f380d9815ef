"""What is each step told, and what of the file of prompts is refused?"""

import re
import shutil
from pathlib import Path

import pytest

from golek_wire.orchestration import MODELS_LIMIT
from golek_worker import settings
from golek_worker.orchestration import flows, materials, prompts, verdicts
from golek_worker.orchestration.base import Step
from golek_worker.orchestration.prompts import PROMPTS, PromptsError
from tests.support.scripted import BAD_CRITIQUE, Scripted, case

TITLES = (materials.DRAFT, materials.OBJECTIONS, materials.OWN, materials.DISAGREEMENTS, materials.ANSWER)


def test_every_step_that_a_flow_asks_is_told_something() -> None:
    """All steps and the usual stages: each has a goal and what is forbidden."""
    read = prompts.read()
    for name in {*prompts.STEPS, *settings.USUAL_STAGES.split(",")}:
        prompt = read.of(name)
        assert prompt.goal
        assert prompt.forbidden
        assert prompt.instruction or name in ("answer", "generate"), f"{name}: the request says it all to these alone"


async def test_the_steps_that_are_listed_are_those_that_flows_ask() -> None:
    """Run with answers that disagree, the flows ask all steps, and no other; a compressor is asked beside them."""
    long = "The port is 8080, as the file of settings says, and the program listens on it."
    lines = dict.fromkeys(("answer", "generate", "revise", "rebut", "reconcile", "synthesize", "compare"), long)
    lines |= {"critique": BAD_CRITIQUE, "draft": "1", "refine": "2", "validate": "3"}
    asked = set[str]()
    for mode in flows.FLOWS:
        ask = Scripted(lines)
        await flows.run(case(mode), ask)
        asked |= {step.name for step in ask.steps}
    assert asked == {*prompts.STEPS, "draft", "refine", "validate"} - {"compress"}


def test_prompts_call_materials_by_their_titles() -> None:
    """The manual at the top of the file names all titles; where a prompt names one it is written as it stands there."""
    text = PROMPTS.read_text("utf-8")
    head = text[: text.index("steps:")]
    assert all(title in head for title in TITLES)
    assert not re.findall(r"\b(?:the objections list|your draft|The Drafts)\b", text)


@pytest.mark.parametrize("name", sorted(prompts.WITH_FORM))
def test_who_follows_no_schema_is_told_the_lines_that_are_read(name: str) -> None:
    """The form is of the JSON, the words of the lines."""
    read = prompts.read()
    [member] = case("single", "a").cast.members
    with_schema = read.instruction(Step(name, member, "critic", schema={}))
    in_words = read.instruction(Step(name, member, "critic"))
    assert read.of(name).form in with_schema
    assert read.of(name).words in in_words
    assert read.of(name).form not in in_words


@pytest.mark.parametrize("said", ["form", "words", "instruction"])
def test_who_repeats_the_prompt_has_judged_nothing(said: str) -> None:
    """A model that says what it was told gives no score and finds no point."""
    read = prompts.read()
    assert verdicts.critique(getattr(read.of("critique"), said)).score is None
    assert verdicts.comparison(getattr(read.of("compare"), said)) is None


def wrong(tmp_path: Path, old: str, new: str) -> str:
    file = tmp_path / "orchestration.yaml"
    text = PROMPTS.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(PromptsError) as raised:
        prompts.read(file)
    assert str(raised.value).startswith(str(file))
    return str(raised.value).removeprefix(f"{file}: ")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("  revise:", "  revize:", "steps.revise: missing"),
        ("  refine:\n    goal:", "  refine:\n    gaol:", "stages.refine: Object contains unknown field `gaol`"),
        ("    goal: the answer to the request\n", "", "steps.answer: Object missing required field `goal`"),
        ("    goal: a first full", "    goal: 7 #", "stages.draft: Expected `str`, got `int`"),
        ("stages:", "stage:", "has the keys steps and stages, and no others"),
        ("  refine:", "  Refine!:", "stages.Refine!: at most 64 of a-z 0-9 _ -, a letter first"),
        ("  refine:", "  revise:", "stages.revise: is the name of a step"),
        ("stages:\n", "stages:\n  more: {goal: a, forbidden: b}\n", "stages.more.instruction: missing"),
        ("steps:\n", "steps:\n  more: {goal: a, forbidden: b}\n", "steps.more: is no step; there is answer, "),
        ("steps:", "steps: [", "cannot be read: "),
        ("    words: >-", "    instruction: >-", "steps.critique: needs form and words"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_key(tmp_path: Path, old: str, new: str, says: str) -> None:
    """Nothing is passed over."""
    assert wrong(tmp_path, old, new).startswith(says)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With its path."""
    with pytest.raises(PromptsError, match="no such file"):
        prompts.read(tmp_path / "none.yaml")


def project(tmp_path: Path, stages: str) -> list[str]:
    file = tmp_path / PROMPTS
    file.parent.mkdir(parents=True)
    shutil.copy(PROMPTS, file)
    file.write_text(file.read_text("utf-8") + "  shorten: {goal: a, forbidden: b, instruction: c}\n", "utf-8")
    env = tmp_path / "envs" / "worker.r.env"
    env.parent.mkdir()
    env.write_text(f"MODEL_NAME=r\nENGINE=router\nINFERENCE_PIPELINE_STAGES={stages}\n")
    return settings.read(env, {})[1]


@pytest.mark.parametrize("stages", ["draft", "draft, code ,validate", "draft,shorten", settings.USUAL_STAGES])
def test_stages_of_the_file_may_be_set(tmp_path: Path, stages: str) -> None:
    """Those that ship, in any order, and those that a project has added."""
    assert project(tmp_path, stages) == []


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        ("draft,valdate", "no stage valdate, did you mean validate?; there is draft, refine, expand, code, "),
        ("generate", "no stage generate"),
        (",", "1 to 16 stages with commas"),
        (",".join(["draft"] * (MODELS_LIMIT + 1)), "1 to 16 stages"),
    ],
)  # fmt: skip
def test_an_unknown_stage_is_a_mistake_that_names_those_there_are(tmp_path: Path, stages: str, says: str) -> None:
    """Before anything starts."""
    [mistake] = project(tmp_path, stages)
    assert mistake.startswith(f"INFERENCE_PIPELINE_STAGES={stages}: {says}")
