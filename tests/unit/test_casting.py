"""Casting: who does what, for every preset in every mode, and for requests that name it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golek_wire.errors import BadRequestError
from golek_wire.orchestration import Mode, Preset
from golek_worker.orchestration import casting
from golek_worker.orchestration.base import COMPRESSOR, Cast, Member
from golek_worker.orchestration.casting import Wanted, cast
from golek_worker.orchestration.presets import DUTIES, MINIMUM, PRESETS, read
from golek_worker.registry import entries
from golek_worker.router import tables

ROLES = tables.build(Path("none"), tables.ROLES, catalogue=tables.of_catalogue(entries.known())).roles
SHIPPED = read(PRESETS).by_id
MODES: tuple[Mode, ...] = get_args(Mode)
TASKS = ("", "code", "analyze", "document", "simple", "chat")


def members(*models: str) -> list[Member]:
    return [Member(model, ROLES.by_model.get(model, ())) for model in models]


def wanted(mode: Mode, task: str = "", **more: Any) -> Wanted:
    return Wanted(mode=mode, role=ROLES.of(task), chain=ROLES.chain, **more)


def of_preset(preset: Preset, mode: Mode | None = None, task: str = "") -> Cast:
    asked = mode or preset.mode or "single"
    own = asked == preset.mode
    return cast(
        members(*preset.models),
        wanted(
            asked, task, preset=preset.id, own_duties=preset.duties if own else {},
            own_stages=preset.stages if own else (),
        ),
    )  # fmt: skip


def shown(found: Cast) -> dict[str, str]:
    return {duty: one.model for duty, one in found.duties.items() if duty != COMPRESSOR}


def stages(found: Cast) -> list[str]:
    return [f"{stage}={one.model}" for stage, one in found.stages]


@given(st.sampled_from(sorted(SHIPPED)), st.sampled_from(MODES), st.sampled_from(TASKS))
def test_every_preset_has_a_cast_in_every_mode_that_its_models_allow(name: str, mode: Mode, task: str) -> None:
    """All duties are done by who takes part; the critic is another than the generator; every member of a pipeline has
    a stage unless the row names other ones, and every stage a member."""
    preset = SHIPPED[name]
    if len(preset.models) < MINIMUM[mode]:
        with pytest.raises(BadRequestError, match=f"mode {mode} needs at least 2 models, and 1 takes part"):
            of_preset(preset, mode, task)
        return
    found = of_preset(preset, mode, task)
    check(found, preset.models)
    if mode == "critique":
        assert found.duties["generator"] != found.duties["critic"]
    if mode == "pipeline" and not (preset.mode == mode and preset.stages):
        assert {one.model for _, one in found.stages} == set(preset.models)
    if mode == preset.mode:
        assert {duty: model for duty, model in shown(found).items() if duty in preset.duties} == preset.duties
        if preset.stages:
            assert stages(found) == [f"{stage}={model}" for stage, model in preset.stages]


def check(found: Cast, models: Sequence[str]) -> None:
    assert set(found.duties) == {*DUTIES[found.mode], COMPRESSOR}
    assert [one.model for one in found.members] == list(models)
    assert all(one in found.members for one in found.duties.values())
    assert all(one in found.members for _, one in found.stages)
    assert bool(found.stages) == (found.mode == "pipeline")


ROLE_SETS = st.lists(st.sampled_from(["primary", "fast", "coder", "thinker", "longctx"]), unique=True, max_size=3)


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), ROLE_SETS.map(tuple)), min_size=2, max_size=16),
    st.sampled_from(MODES),
    st.sampled_from(TASKS),
    st.lists(st.sampled_from(["draft", "refine", "validate", "expand", "code"]), min_size=1, max_size=16),
    st.booleans(),
    st.sampled_from(["", "a", "e"]),
)
def test_whoever_takes_part_there_is_a_cast(
    models: list[tuple[str, tuple[str, ...]]], mode: Mode, task: str, names: list[str], said: bool, lead: str
) -> None:
    """With any models, roles and stages, also where one is named twice; of stages that somebody names all are done."""
    taking = [Member(model, roles) for model, roles in models]
    its = tuple(names) if mode == "pipeline" and said else None
    found = cast(taking, wanted(mode, task, stages=its, usual_stages=tuple(names), lead=lead))
    check(found, [one.model for one in taking])
    if its is not None:
        assert [stage for stage, _ in found.stages] == names
    elif mode == "pipeline":
        assert len(found.stages) == len(taking)
    if mode == "critique" and len({one.model for one in taking}) > 1:
        assert found.duties["generator"].model != found.duties["critic"].model


@pytest.mark.parametrize(
    ("models", "task", "generator", "critic"),
    [
        (("phi-4", "qwen2.5-7b"), "", "phi-4", "qwen2.5-7b"),  # as D2 says
        (("deepseek-r1-7b", "qwen2.5-7b"), "", "qwen2.5-7b", "deepseek-r1-7b"),  # as D4
        (("deepseek-r1-7b", "llama-3.2-3b"), "", "llama-3.2-3b", "deepseek-r1-7b"),  # as D7
        (("granite-8b-code-128k", "deepseek-r1-7b"), "code", "granite-8b-code-128k", "deepseek-r1-7b"),  # as D12
        (("phi-3-medium-128k", "phi-4"), "document", "phi-3-medium-128k", "phi-4"),  # as D8
        (("phi-4", "deepseek-r1-7b"), "analyze", "phi-4", "deepseek-r1-7b"),
        (("echo", "golek-tiny"), "", "echo", "golek-tiny"),  # without roles as they are named
        (("golek-tiny", "golek-tiny"), "", "golek-tiny", "golek-tiny"),
    ],
)
def test_who_writes_and_who_judges(models: tuple[str, ...], task: str, generator: str, critic: str) -> None:
    """The primary one writes, the coder code, the one with a long context about documents; a thinker judges."""
    found = cast(members(*models), wanted("critique", task))
    assert shown(found) == {"generator": generator, "critic": critic}


@pytest.mark.parametrize(
    ("models", "task", "expected"),
    [
        (("phi-4", "llama-3.2-3b"), "", ["draft=llama-3.2-3b", "validate=phi-4"]),  # as D1
        (("qwen2.5-7b", "llama-3.2-3b"), "", ["draft=llama-3.2-3b", "refine=qwen2.5-7b"]),  # as D5
        (
            ("phi-4", "qwen2.5-7b", "llama-3.2-3b"),
            "",
            ["draft=llama-3.2-3b", "refine=qwen2.5-7b", "validate=phi-4"],
        ),  # as T1
        (
            ("phi-4", "phi-3-medium-128k", "qwen2.5-7b", "llama-3.2-3b"),
            "code",
            ["draft=llama-3.2-3b", "refine=phi-3-medium-128k", "refine=qwen2.5-7b", "validate=phi-4"],
        ),
        (("a", "b"), "", ["draft=a", "validate=b"]),
        (("a", "b", "a"), "", ["draft=a", "refine=b", "validate=a"]),
    ],
)
def test_who_does_the_usual_stages(models: tuple[str, ...], task: str, expected: list[str]) -> None:
    """The fast one drafts and the primary one validates; who comes between refines, the one for this kind of work
    last."""
    found = cast(members(*models), wanted("pipeline", task))
    assert stages(found) == expected


def test_named_stages_are_all_done() -> None:
    """With fewer models some do several, the later ones the better model; who is named for one does it."""
    two = members("llama-3.2-3b", "phi-4")
    found = cast(two, wanted("pipeline", stages=("draft", "expand", "validate")))
    assert stages(found) == ["draft=llama-3.2-3b", "expand=phi-4", "validate=phi-4"]
    found = cast(two, wanted("pipeline", stages=("draft", "expand"), duties={"draft": "phi-4"}))
    assert stages(found) == ["draft=phi-4", "expand=llama-3.2-3b"]
    own = (("draft", ""), ("code", "llama-3.2-3b"))
    assert stages(cast(two, wanted("pipeline", own_stages=own))) == ["draft=phi-4", "code=llama-3.2-3b"]


def test_who_counts_when_several_say_who_does_it() -> None:
    """The request, the preset, the model that was asked by its name, the settings, roles."""
    three = members("phi-4", "qwen2.5-7b", "deepseek-r1-7b")

    def reconciler(**more: Any) -> str:
        return shown(cast(three, wanted("debate", **more)))["reconciler"]

    assert reconciler() == "phi-4"
    assert reconciler(reconciles="thinker") == "deepseek-r1-7b"
    assert reconciler(reconciles="qwen2.5-7b") == "qwen2.5-7b"
    assert reconciler(reconciles="a-model-that-is-not-there") == "phi-4"
    assert reconciler(reconciles="qwen2.5-7b", lead="deepseek-r1-7b") == "deepseek-r1-7b"
    own = {"reconciler": "phi-4"}
    assert reconciler(lead="deepseek-r1-7b", own_duties=own) == "phi-4"
    assert reconciler(own_duties=own, duties={"reconciler": "qwen2.5-7b"}) == "qwen2.5-7b"


def test_who_judges_is_not_who_writes() -> None:
    """Also where the request gives the generator's duty to the preset's critic; only the request itself may say so."""
    own = {"generator": "phi-4", "critic": "qwen2.5-7b"}
    two = members("phi-4", "qwen2.5-7b")
    found = cast(two, wanted("critique", own_duties=own, duties={"generator": "qwen2.5-7b"}))
    assert shown(found) == {"generator": "qwen2.5-7b", "critic": "phi-4"}
    found = cast(two, wanted("critique", lead="phi-4", duties={"critic": "phi-4"}))
    assert shown(found) == {"generator": "qwen2.5-7b", "critic": "phi-4"}
    both = {"generator": "phi-4", "critic": "phi-4"}
    assert shown(cast(two, wanted("critique", duties=both))) == both


def test_the_fast_one_compresses() -> None:
    """Else the last one; or whoever is named."""
    assert cast(members("llama-3.2-3b", "phi-4"), wanted("debate")).duties[COMPRESSOR].model == "llama-3.2-3b"
    assert cast(members("phi-4", "qwen2.5-7b"), wanted("debate")).duties[COMPRESSOR].model == "qwen2.5-7b"
    found = cast(members("llama-3.2-3b", "phi-4"), wanted("debate", duties={"compressor": "phi-4"}))
    assert found.duties[COMPRESSOR].model == "phi-4"


@pytest.mark.parametrize(
    ("mode", "models", "more", "param", "said"),
    [
        ("ensemble", ("a",), {}, "orchestration.models", "mode ensemble needs at least 2 models, and 1 takes part: a"),
        ("debate", (), {}, "orchestration.models", "mode debate needs at least 2 models, and 0 take part"),
        ("debate", ("a",) * 17, {}, "orchestration.models", "17 models; at most 16"),
        (
            "debate", ("a", "b"), {"duties": {"critic": "a"}}, "orchestration.duties.critic",
            "no duty of mode debate; there is compressor, reconciler",
        ),
        (
            "critique", ("a", "b"), {"duties": {"critic": "c"}}, "orchestration.duties.critic",
            "critic=c: it does not take part; these do: a, b",
        ),
        (
            "pipeline", ("a", "b"), {"duties": {"polish": "a"}}, "orchestration.duties.polish",
            "there is compressor, draft, refine, validate",
        ),
        ("debate", ("a", "b"), {"stages": ("draft",)}, "orchestration.stages", "mode debate has none"),
        ("ensemble", ("a", "b"), {"max_rounds": 2}, "orchestration.max_rounds", "it is for critique and debate"),
        ("pipeline", ("a", "b"), {"threshold": 0.5}, "orchestration.threshold", "mode pipeline has none"),
    ],
)  # fmt: skip
def test_what_cannot_be_cast_names_the_field(
    mode: Mode, models: tuple[str, ...], more: dict[str, Any], param: str, said: str
) -> None:
    """Mode, models and minimum; duties that there are, and who takes part."""
    with pytest.raises(BadRequestError) as caught:
        cast(members(*models), wanted(mode, **more))
    assert caught.value.details["param"] == param
    assert said in caught.value.message


def test_stages_of_the_settings_are_what_they_are_called() -> None:
    """Their default is what INFERENCE_PIPELINE_STAGES says where nobody sets it."""
    from golek_worker.settings import Settings

    assert Settings(model_name="x").inference_pipeline_stages.split(",") == list(casting.STAGES)
