"""Presets: those that ship equal their documents' tables, and a user's files load as other services write them."""

from pathlib import Path
from typing import get_args

import pytest

from golek_wire.orchestration import Mode
from golek_worker.orchestration import presets
from golek_worker.orchestration.presets import PRESETS, PresetsError, read
from golek_worker.registry import entries

ROWS = """
| `S1` | phi-4 | 7.9GB | single |  | mac |
| `S2` | deepseek-r1-7b | 4.4GB | single |  | mac |
| `S3` | qwen2.5-7b | 4.4GB | single |  | mac |
| `S4` | llama-3.2-3b | 2.0GB | single |  | mac |
| `S5` | phi-3-medium-128k | 8.6GB | single |  | mac |
| `S6` | granite-8b-code-128k | 4.5GB | single |  | mac |
| `S7` | gpt-oss-20b | 11.6GB | single |  | server |
| `S8` | granite-20b-code | 12.8GB | single |  | server |
| `D1` | phi-4 + llama-3.2-3b | 9.9GB | pipeline | llama=drafter, phi-4=validator | mac |
| `D2` | phi-4 + qwen2.5-7b | 12.3GB | critique | phi-4=gen, qwen=critic | mac-tight |
| `D3` | phi-4 + deepseek-r1-7b | 12.3GB | debate | Both generate, phi-4 reconciles | mac-tight |
| `D4` | deepseek-r1-7b + qwen2.5-7b | 8.8GB | critique | qwen=gen, deepseek=critic | mac |
| `D5` | qwen2.5-7b + llama-3.2-3b | 6.4GB | pipeline | llama=draft, qwen=refine | mac |
| `D6` | phi-3-medium-128k + llama-3.2-3b | 10.6GB | pipeline | llama=draft, phi-3=expand | mac |
| `D7` | deepseek-r1-7b + llama-3.2-3b | 6.4GB | critique | llama=gen, deepseek=critic | mac |
| `D8` | phi-4 + phi-3-medium-128k | 16.5GB | critique | phi-3=gen, phi-4=critic | server |
| `D9` | phi-3-medium-128k + qwen2.5-7b | 13.0GB | critique | phi-3=gen, qwen=critic | mac-tight |
| `D10` | phi-3-medium-128k + deepseek-r1-7b | 13.0GB | debate | Long context debate | mac-tight |
| `D11` | granite-8b-code-128k + llama-3.2-3b | 6.5GB | pipeline | llama=draft, granite=code | mac |
| `D12` | granite-8b-code-128k + deepseek-r1-7b | 8.9GB | critique | granite=gen, deepseek=critic | mac |
| `D13` | granite-8b-code-128k + qwen2.5-7b | 8.9GB | debate | Code model debate | mac |
| `D14` | granite-8b-code-128k + phi-4 | 12.4GB | critique | granite=gen, phi-4=critic | mac-tight |
| `D15` | gpt-oss-20b + granite-20b-code | 24.4GB | critique | gpt=gen, granite=critic | server |
| `T1` | phi-4 + qwen2.5-7b + llama-3.2-3b | 14.3GB | pipeline | llama→qwen→phi-4 | mac-tight |
| `T2` | phi-4 + deepseek-r1-7b + llama-3.2-3b | 14.3GB | ensemble | All vote, phi-4 synthesizes | mac-tight |
| `T3` | deepseek-r1-7b + qwen2.5-7b + llama-3.2-3b | 10.8GB | pipeline | llama→qwen→deepseek | mac |
| `T4` | phi-4 + deepseek-r1-7b + qwen2.5-7b | 16.7GB | debate | Full reasoning debate | server |
| `T5` | phi-3-medium-128k + qwen2.5-7b + llama-3.2-3b | 15.0GB | pipeline | llama→qwen→phi-3 | server |
| `T6` | phi-4 + phi-3-medium-128k + llama-3.2-3b | 18.5GB | pipeline | llama→phi-4→phi-3 | server |
| `T7` | phi-4 + phi-3-medium-128k + qwen2.5-7b | 20.9GB | ensemble | General+Long+Code | server |
| `T8` | phi-4 + phi-3-medium-128k + deepseek-r1-7b | 20.9GB | debate | Reasoning trio | server |
| `T9` | phi-3-medium-128k + deepseek-r1-7b + qwen2.5-7b | 17.4GB | ensemble | Long+Think+Code | server |
| `T10` | phi-3-medium-128k + deepseek-r1-7b + llama-3.2-3b | 15.0GB | pipeline | llama→deepseek→phi-3 | server |
| `T11` | granite-8b-code-128k + qwen2.5-7b + llama-3.2-3b | 10.9GB | pipeline | llama→qwen→granite (code) | mac |
| `T12` | granite-8b-code-128k + deepseek-r1-7b + llama-3.2-3b | 10.9GB | pipeline | llama→deepseek→granite (think+code) | mac |
| `T13` | granite-8b-code-128k + phi-4 + llama-3.2-3b | 14.4GB | pipeline | llama→phi-4→granite | mac-tight |
| `Q1` | phi-4 + deepseek-r1-7b + qwen2.5-7b + llama-3.2-3b | 18.7GB | ensemble |  | server |
| `Q2` | phi-4 + phi-3-medium-128k + qwen2.5-7b + llama-3.2-3b | 22.9GB | pipeline |  | server |
| `Q3` | phi-4 + phi-3-medium-128k + deepseek-r1-7b + llama-3.2-3b | 22.9GB | ensemble |  | server |
| `Q4` | phi-4 + phi-3-medium-128k + deepseek-r1-7b + qwen2.5-7b | 25.3GB | debate |  | server |
| `Q5` | phi-3-medium-128k + deepseek-r1-7b + qwen2.5-7b + llama-3.2-3b | 19.4GB | ensemble |  | server |
| `Q6` | granite-8b-code-128k + phi-4 + qwen2.5-7b + llama-3.2-3b | 18.8GB | pipeline |  | server |
| `Q7` | granite-8b-code-128k + deepseek-r1-7b + qwen2.5-7b + llama-3.2-3b | 15.3GB | ensemble |  | server |
| `P1` | phi-4 + phi-3 + deepseek + qwen + llama | 27.3GB | ensemble |  | server |
| `P2` | phi-4 + phi-3 + deepseek + qwen + llama | 27.3GB | pipeline |  | server |
| `P3` | phi-4 + phi-3 + deepseek + qwen + llama | 27.3GB | debate |  | server |
| `P4` | ALL 6 Mac models + gpt-oss-20b | 38.9GB | ensemble |  | server |
| `P5` | ALL 6 Mac models + granite-20b-code | 40.1GB | pipeline |  | server |
| `P6` | ALL 8 models | 53.2GB | ensemble |  | server |
"""  # noqa: E501
"""As printed: id, models, size, mode, roles; and the mark, `Mac \u2705` as mac, `Mac \u26a0` as mac-tight."""
SHORT = {
    "phi-3": "phi-3-medium-128k",
    "deepseek": "deepseek-r1-7b",
    "qwen": "qwen2.5-7b",
    "llama": "llama-3.2-3b",
    "granite": "granite-8b-code-128k",
    "gpt": "gpt-oss-20b",
}
MAC = {"llama-3.2-3b", "qwen2.5-7b", "deepseek-r1-7b", "granite-8b-code-128k", "phi-4", "phi-3-medium-128k"}
SERVER = {"gpt-oss-20b", "granite-20b-code"}
DUTIES = {
    "D2": {"generator": "phi-4", "critic": "qwen"},
    "D3": {"reconciler": "phi-4"},
    "D4": {"generator": "qwen", "critic": "deepseek"},
    "D4v2": {"generator": "qwen3-8b", "critic": "deepseek"},
    "D7": {"generator": "llama", "critic": "deepseek"},
    "D8": {"generator": "phi-3", "critic": "phi-4"},
    "D9": {"generator": "phi-3", "critic": "qwen"},
    "D12": {"generator": "granite", "critic": "deepseek"},
    "D14": {"generator": "granite", "critic": "phi-4"},
    "D15": {"generator": "gpt", "critic": "granite-20b-code"},
    "T2": {"synthesizer": "phi-4"},
}
STAGES = {
    "D1": ["draft=llama", "validate=phi-4"],
    "D5": ["draft=llama", "refine=qwen"],
    "D6": ["draft=llama", "expand=phi-3"],
    "D11": ["draft=llama", "code=granite"],
}
"""What the rows say in words; rows with arrows are read here."""
SHIPPED = read(PRESETS)


def full(name: str) -> str:
    return SHORT.get(name, name)


def printed() -> list[tuple[str, ...]]:
    return [tuple(cell.strip().strip("`") for cell in row.split("|")[1:-1]) for row in ROWS.strip().splitlines()]


def models_of(row: str) -> set[str]:
    if row.startswith("ALL 8"):
        return MAC | SERVER
    named = {full(one.strip()) for one in row.split("+") if not one.startswith("ALL 6")}
    return named | (MAC if row.startswith("ALL 6") else set())


def test_all_rows_are_there_and_one_more() -> None:
    """49 rows of the tables, and D4v2, which is only named there."""
    assert len(printed()) == 49
    assert set(SHIPPED.by_id) == {row[0] for row in printed()} | {"D4v2"}
    assert SHIPPED.problems == ()


@pytest.mark.parametrize("row", printed(), ids=lambda row: row[0])
def test_a_row_is_as_printed(row: tuple[str, ...]) -> None:
    """Models, mode, duties, stages, size, mark and words of each."""
    name, models, size, mode, about, mark = row
    found = SHIPPED.by_id[name]
    assert set(found.models) == models_of(models)
    assert len(found.models) == len(set(found.models))
    assert (f"{found.stated_gb}GB", found.mode, found.about, found.hardware) == (size, mode, about, mark)
    assert found.duties == {duty: full(model) for duty, model in DUTIES.get(name, {}).items()}
    stages = [f"{stage}={model}" for stage, model in found.stages]
    if "\u2192" in about:
        order = [full(one) for one in about.partition(" (")[0].split("\u2192")]
        assert stages == [
            f"{stage}={model}" for stage, model in zip(("draft", "refine", "validate"), order, strict=True)
        ]
    else:
        said = [one.partition("=") for one in STAGES.get(name, [])]
        assert stages == [f"{stage}={full(model)}" for stage, _, model in said]


def test_the_one_that_is_only_named() -> None:
    """D4v2 is D4 with another generator."""
    found = SHIPPED.by_id["D4v2"]
    assert (found.models, found.mode) == (("deepseek-r1-7b", "qwen3-8b"), "critique")
    assert found.duties == {duty: full(model) for duty, model in DUTIES["D4v2"].items()}
    assert (found.stated_gb, found.hardware) == (None, "")


def test_every_model_of_a_shipped_preset_is_in_the_catalogue() -> None:
    """So that each can be sized, downloaded and started."""
    known = entries.known()
    assert {model for one in SHIPPED.by_id.values() for model in one.models} <= set(known)


FORMS = {
    "a mapping": """
presets:
  X1: {models: [phi-4, deepseek-r1-7b], mode: debate, size: 12.3GB, hardware: Mac}
""",
    "other names of keys": """
configs:
  X1: {models: phi-4 + deepseek-r1-7b, orchestration_mode: debate, size_gb: 12.3, hardware: Mac, colour: red}
""",
    "a list": """
presets:
  - {id: X1, models: "phi-4, deepseek-r1-7b", mode: debate, total_size: 12.3 GB, hardware: Mac}
""",
    "at the top": """
X1:
  models: [phi-4, deepseek-r1-7b]
  mode: debate
  size: ~12.3GB
  hardware: Mac
""",
    "a list at the top": """
- {name: X1, models: [phi-4, deepseek-r1-7b], mode: debate, size: 12.3, hardware: Mac}
""",
}


@pytest.mark.parametrize("form", FORMS)
def test_files_of_other_services_load_unchanged(tmp_path: Path, form: str) -> None:
    """Mappings and lists, below a section or at the top; what nobody here knows is told, and stops nothing."""
    own = tmp_path / "presets.yaml"
    own.write_text(FORMS[form])
    found = read(PRESETS, own)
    preset = found.by_id["X1"]
    assert (preset.models, preset.mode, preset.stated_gb) == (("phi-4", "deepseek-r1-7b"), "debate", 12.3)
    assert len(found.by_id) == 51
    assert [one for one in found.problems if "colour" in one] == list(found.problems)
    assert bool(found.problems) == ("colour" in FORMS[form])


@pytest.mark.parametrize(
    ("mode", "roles", "duties", "stages", "by_model"),
    [
        ("critique", "{phi-4: gen, qwen: critic}", {"generator": "phi-4", "critic": "qwen"}, [], {}),
        ("critique", "{generator: phi-4, critic: qwen}", {"generator": "phi-4", "critic": "qwen"}, [], {}),
        ("pipeline", "{phi-4: validator, qwen: drafter}", {}, [("draft", "qwen"), ("validate", "phi-4")], {}),
        ("debate", "{phi-4: [participant, reconciler], qwen: participant}", {"reconciler": "phi-4"}, [], {}),
        ("ensemble", "{qwen: [fast, coder]}", {}, [], {"qwen": ("fast", "coder")}),
    ],
)
def test_roles_either_way_round(
    tmp_path: Path,
    mode: Mode,
    roles: str,
    duties: dict[str, str],
    stages: list[tuple[str, str]],
    by_model: dict[str, tuple[str, ...]],
) -> None:
    """`{model: role}` and `{role: model}`, with duties, stages and roles among them."""
    own = tmp_path / "presets.yaml"
    own.write_text(f"presets:\n  X1: {{models: [phi-4, qwen], mode: {mode}, roles: {roles}}}\n")
    found = read(PRESETS, own)
    preset = found.by_id["X1"]
    assert (preset.duties, list(preset.stages), preset.roles) == (duties, stages, by_model)
    assert found.problems == ()


def test_what_roles_cannot_mean_is_told(tmp_path: Path) -> None:
    """A word that nobody knows, a model of another preset, a duty of another mode."""
    own = tmp_path / "presets.yaml"
    own.write_text("X1: {models: [a, b], mode: debate, roles: {a: chairman, c: critic, b: critic}}\n")
    told = "\n".join(read(PRESETS, own).problems)
    for part in ("roles.a=chairman: nothing that debate knows", "roles.c=critic: neither", "roles.b=critic: nothing"):
        assert part in told


def test_of_two_with_one_id_the_users_counts(tmp_path: Path) -> None:
    """Also over what a list of models says beside its models; its other sections are the list's."""
    own, listed = tmp_path / "presets.yaml", tmp_path / "model_configs.yaml"
    listed.write_text(
        "models: {phi-4: {file: x.gguf}}\n"
        "configs: {D3: {models: [a, b], mode: ensemble}, X2: {model: a, mode: single}}\n"
    )
    found = read(PRESETS, models_list=listed)
    assert (found.by_id["D3"].models, found.by_id["X2"].models) == (("a", "b"), ("a",))
    assert (found.by_id["D3"].origin, found.problems) == (str(listed), ())
    own.write_text("D3: {models: [c, d], mode: critique}\n")
    assert read(PRESETS, own, listed).by_id["D3"].models == ("c", "d")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("{models: [a, b], mode: vote}", "X1.mode=vote: one of single, critique, debate, ensemble, pipeline"),
        ("{models: [a], mode: debate}", "X1.models: mode debate needs at least 2 models, and 1 takes part: a"),
        ("{models: [], mode: single}", "X1.models: at least one name"),
        ("{modles: [a, b], mode: debate}", "X1.modles: not known here; did you mean models?"),
        (
            "{models: [a, b], mode: critique, duties: {judge: a}}",
            "X1.duties.judge: no duty of critique; there is critic",
        ),
        ("{models: [a, b], mode: critique, duties: {critic: c}}", "X1.duties.critic=c: no model of this preset"),
        ("{models: [a, b], mode: debate, stages: [draft]}", "X1.stages: debate has none"),
        ("{models: [a, b], mode: pipeline, stages: {draft: c}}", "X1.stages.draft=c: no model of this preset"),
        ("{models: [a, b], mode: debate, size: big}", "X1.stated_gb='big': a size in GB"),
        ("[a, b]", "presets.yaml: X1: a mapping was expected"),
    ],
)
def test_a_mistake_names_file_preset_and_key(tmp_path: Path, said: str, told: str) -> None:
    """And what would be right, for the person who made it."""
    own = tmp_path / "presets.yaml"
    own.write_text(f"presets:\n  X1: {said}\n")
    with pytest.raises(PresetsError) as caught:
        read(PRESETS, own)
    assert str(caught.value).startswith(str(own))
    assert told in str(caught.value)


def test_the_file_that_ships_is_strict(tmp_path: Path) -> None:
    """There an unknown key, a second id and another section are mistakes."""
    file = tmp_path / "presets.yaml"
    for text, told in (
        ("presets: [{id: X1, models: [a], mode: single, colour: red}]", "X1.colour: unknown key; there is id, models"),
        ("presets: [{id: X1, models: [a]}, {id: X1, models: [b]}]", "two presets with the id 'X1'"),
        ("presets: []\nconfigs: []", "and nothing else"),
        ("presets: [{models: [a]}]", "presets[0].id: a name was expected"),
        ("presets: [{id: auto, models: [a]}]", "auto: no id for a preset"),
        ("presets: [", "presets.yaml: while parsing"),
    ):
        file.write_text(text)
        with pytest.raises(PresetsError) as caught:
            read(file)
        assert told in str(caught.value)


def test_a_file_without_a_preset_is_told(tmp_path: Path) -> None:
    """A section whose name is mistyped leaves nobody in silence."""
    own = tmp_path / "presets.yaml"
    own.write_text("preset:\n  X1: {models: [a, b], mode: debate}\n")
    assert read(PRESETS, own).problems == (
        f"{own}: no preset in it; each names `models`, below `presets:` or at the top by its id",
    )


def test_every_mode_has_a_minimum_and_duties() -> None:
    """What a mode needs is written down for all of them."""
    assert set(presets.MINIMUM) == set(presets.DUTIES) == set(get_args(Mode))
