"""Presets in a router's table: what their names mean, which are offered, and who is missing."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from golek_wire.orchestration import Preset
from golek_worker.orchestration import presets
from golek_worker.providers import catalog
from golek_worker.router import tables
from golek_worker.router.policy import decide
from golek_worker.router.standing import Situation
from golek_worker.router.table import Entry, Share, Table
from golek_worker.router.tables import ROLES, ROUTES, TablesError, Wishes
from golek_worker.router.targets import Ask, State, Target
from golek_worker.routing import naming
from golek_worker.settings import Settings

D3 = Preset("D3", ("phi-4", "deepseek-r1-7b"), "debate")
MIXED = Preset("X1", ("phi-4", "smart", "ours:big", "phi-4"))
CLOUD = Target("ours:big", "ours", "big")
TABLE = Table(
    {"smart": Entry("smart", (Share("local:qwen3-8b"),))}, clouds={CLOUD.name: CLOUD}, presets={"D3": D3, "X1": MIXED}
)


def fleet(*up: str, gone: tuple[str, ...] = ()) -> Situation:
    targets = {f"local:{name}": Target(f"local:{name}", "local", name, context_size=4096) for name in (*up, *gone)}
    states = {f"local:{name}": State(free=1, slots=1) for name in up}
    states |= {f"local:{name}": State(up=False, why=f"no worker serves {name}") for name in gone}
    return Situation({**targets, CLOUD.name: CLOUD}, states)


def test_a_preset_is_a_name_like_others() -> None:
    """It stands for its models; one that stands there twice is one target, an alias is what it stands for."""
    plan = TABLE.plan("D3", {})
    assert plan is not None
    assert (plan.sort, plan.name, plan.preset) == ("preset", "D3", D3)
    assert [share.target for share in plan.targets] == ["local:phi-4", "local:deepseek-r1-7b"]
    mixed = TABLE.plan("inference:X1", {})
    assert mixed is not None
    assert [share.target for share in mixed.targets] == ["local:phi-4", "local:qwen3-8b", "ours:big"]


def test_models_and_aliases_of_that_name_come_first() -> None:
    """A model of the fleet, and then an alias; the preset is told to be hidden. `local:` means a model alone."""
    plan = TABLE.plan("D3", {"D3": "local:D3"})
    assert plan is not None
    assert plan.sort == "model"
    assert "presets.D3: a model of the fleet has this name" in "\n".join(TABLE.beside(["D3"]))
    assert TABLE.plan("local:D3", {}) is None


def test_an_alias_of_that_name_hides_it(tmp_path: Path) -> None:
    """And that is a problem that is told; so is INFERENCE_CONFIG, if it names that one."""
    routes = tmp_path / "routes.yaml"
    routes.write_text("routes: {D3: {targets: [local:phi-4]}}\n")
    table = tables.build(routes, ROLES, presets={"D3": D3})
    plan = table.plan("D3", {})
    assert plan is not None
    assert (plan.sort, table.presets) == ("alias", {})
    assert [one for one in table.problems if "D3: " in one and "has an alias of this name" in one]
    with pytest.raises(TablesError, match="INFERENCE_CONFIG=D3: an alias of the routes file has this name"):
        tables.build(routes, ROLES, wishes=Wishes(config="D3"), presets={"D3": D3})


def test_those_are_offered_whose_models_are_known() -> None:
    """Others can be asked, and would bury the rest of the list."""
    known = fleet("phi-4", gone=("deepseek-r1-7b",)).spelled
    offer, other = TABLE.preset_offers(known)
    assert other.name == "X1", "an alias and a cloud are known by the table"
    assert (offer.name, offer.mode, offer.targets, offer.kinds) == ("D3", "debate", [*D3.models], ["inference"])
    mixed = msgspec.structs.replace(TABLE, mode="ensemble", presets={"X1": MIXED})
    assert mixed.preset_offers(known)[0].mode == "ensemble", "the settings say it where the preset does not"
    assert [one.name for one in TABLE.preset_offers(fleet("phi-4").spelled)] == ["X1"]
    assert TABLE.unknown(D3, fleet("phi-4").spelled) == ["deepseek-r1-7b"]


def test_all_models_are_decided_on() -> None:
    """Who would answer for each; asked about another kind of work, it says what it is for."""
    decision = decide(Ask("D3"), TABLE, fleet("phi-4", "deepseek-r1-7b"))
    assert [one.target for one in decision.candidates] == ["local:phi-4", "local:deepseek-r1-7b"]
    assert decision.error is None
    refused = decide(Ask("D3", "embedding"), TABLE, fleet("phi-4", "deepseek-r1-7b"))
    assert refused.error is not None
    assert refused.error["code"] == "BAD_REQUEST"


@pytest.mark.parametrize(
    ("over", "code", "missing"),
    [
        (fleet("phi-4"), "MODEL_NOT_FOUND", ["deepseek-r1-7b"]),
        (fleet("phi-4", gone=("deepseek-r1-7b",)), "NO_WORKERS", ["deepseek-r1-7b"]),
        (fleet(), "MODEL_NOT_FOUND", ["phi-4", "deepseek-r1-7b"]),
        (fleet(gone=("phi-4",)), "MODEL_NOT_FOUND", ["phi-4", "deepseek-r1-7b"]),
    ],
)
def test_who_is_missing_is_named(over: Situation, code: str, missing: list[str]) -> None:
    """The preset is known, its models are not: the error says which, and what becomes of each."""
    decision = decide(Ask("D3"), TABLE, over)
    assert decision.candidates == []
    assert decision.error is not None
    assert (decision.error["code"], decision.error["details"]["missing"]) == (code, missing)
    assert decision.error["message"].startswith("D3 needs phi-4, deepseek-r1-7b, and ")


def test_who_is_missing_is_told_once_with_what_starts_it() -> None:
    """Why each is not there, without what the sentence says already; a near name; the line that starts the preset."""
    gone = fleet("phi-4", gone=("deepseek-r1-7b",))
    states = {**gone.states, "local:deepseek-r1-7b": State(up=False, why="No worker serves deepseek-r1-7b; last seen")}
    error = decide(Ask("D3"), TABLE, msgspec.structs.replace(gone, states=states)).error
    assert error is not None
    assert error["message"] == (
        "D3 needs phi-4, deepseek-r1-7b, and deepseek-r1-7b is missing: No worker serves deepseek-r1-7b; last seen. "
        "Where their files are, or can be had, `golek presets start D3` starts them"
    )
    assert error["details"]["command"] == "golek presets start D3"
    mistyped = Table(presets={"M": Preset("M", ("phi-4", "pih-4"))})
    error = decide(Ask("M"), mistyped, fleet("phi-4")).error
    assert error is not None
    assert error["details"]["did_you_mean"] == "phi-4"


def test_a_model_whose_worker_failed_is_missing() -> None:
    """At once, though one that is asked alone is waited for, as somebody may start it again."""
    states = {
        "local:phi-4": State(free=1, slots=1),
        "local:deepseek-r1-7b": State(up=False, expected=True, failed=True),
    }
    situation = msgspec.structs.replace(fleet("phi-4", "deepseek-r1-7b"), states=states)
    assert decide(Ask("deepseek-r1-7b"), TABLE, situation).error is None
    error = decide(Ask("D3"), TABLE, situation).error
    assert error is not None
    assert (error["code"], error["details"]["missing"]) == ("NO_WORKERS", ["deepseek-r1-7b"])


def test_a_key_for_the_preset_covers_its_models() -> None:
    """And one for its models alone is not for the preset."""
    over = fleet("phi-4", "deepseek-r1-7b")
    assert decide(Ask("D3", allowed=frozenset(("D3",))), TABLE, over).error is None
    refused = decide(Ask("D3", allowed=frozenset(D3.models)), TABLE, over).error
    assert refused is not None
    assert refused["code"] == "FORBIDDEN"


def test_a_preset_takes_no_part_in_another_one() -> None:
    """Also not in itself: its name is then that of a model nobody knows."""
    table = Table(presets={"A": Preset("A", ("A", "B")), "B": Preset("B", ("phi-4",))})
    error = decide(Ask("A"), table, fleet("phi-4")).error
    assert error is not None
    assert error["details"]["missing"] == ["A", "B"]
    assert table.unknown(table.presets["A"], fleet("phi-4").spelled) == ["A", "B"]


def test_a_mistyped_preset_is_guessed() -> None:
    """`D33` may mean D3."""
    error = decide(Ask("D33"), Table(presets={"D3": D3}), fleet("phi-4")).error
    assert error is not None
    assert "did you mean D3?" in error["message"]


def test_equal_presets_are_known_as_such_everywhere() -> None:
    """The fingerprint of the shipped ones is the same in every process; of other presets, another `auto` or another
    mode it is another one."""
    script = (
        "from golek_worker.router import tables as t; from golek_worker.orchestration.presets import PRESETS, read; "
        "print(t.build(t.ROUTES, t.ROLES, presets=read(PRESETS).by_id).fingerprint())"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in "12"
    }
    assert len(told) == 1
    shipped = presets.read(presets.PRESETS).by_id
    found = {
        tables.build(ROUTES, ROLES, presets=some, wishes=wishes).fingerprint()
        for some in (shipped, {**shipped, "D3": MIXED})
        for wishes in (Wishes(), Wishes(config="D3"), Wishes(mode="debate"))
    }
    assert len(found) == 6


NO_CLOUDS = catalog.opened({}, {})


def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "data").symlink_to(Path("data").absolute())
    (folder / "config").mkdir()
    monkeypatch.chdir(folder)


def test_a_users_file_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it comes, when it changes; with a mistake in it what was read before still counts, and that is told."""
    in_folder(tmp_path, monkeypatch)
    held = naming.open_tables(Settings(model_name="router", engine="router"), NO_CLOUDS)
    assert len(held.table.presets) == 50
    own = tmp_path / "config" / "presets.yaml"
    own.write_text("X1: {models: [a, b], mode: debate}\n")
    assert held.refresh()
    assert held.table.presets["X1"].models == ("a", "b")
    own.write_text("X1: {models: [a], mode: debate}\n")
    assert held.refresh()
    assert held.table.presets["X1"].models == ("a", "b")
    assert "X1.models: mode debate needs at least 2" in held.table.problems[-1]
    assert held.table.problems[-1].endswith("still counts")


def test_settings_say_what_auto_stands_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A preset by INFERENCE_CONFIG, unless INFERENCE_PRELOAD_MODELS names models; one that is not there is refused."""
    in_folder(tmp_path, monkeypatch)

    def config(**said: str) -> str:
        chosen = msgspec.structs.replace(Settings(model_name="router", engine="router"), **said)
        return naming.read_table(chosen, NO_CLOUDS).config

    assert config(inference_config="D4v2") == "D4v2"
    assert config(inference_config="D3", inference_preload_models="phi-4,qwen2.5-7b") == ""
    with pytest.raises(TablesError, match=r"INFERENCE_CONFIG=D33: no such preset; did you mean D3\?"):
        config(inference_config="D33")
    with pytest.raises(TablesError, match=r"PRESETS_FILE=none\.yaml: no such file"):
        config(presets_file="none.yaml")
