"""The router's files: what ships can be read, every mistake is named, and another file counts at once."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from golek_worker.registry import entries
from golek_worker.router import tables
from golek_worker.router.policy import decide
from golek_worker.router.reading import Tables
from golek_worker.router.standing import Situation
from golek_worker.router.table import Share, Table
from golek_worker.router.tables import ROLES, ROUTES, Clouds, TablesError, Wishes
from golek_worker.router.targets import Ask, State, Target

CLOUDS = Clouds(
    {"openai:gpt": Target("openai:gpt", "openai", "gpt", roles=("coder",))},
    {"gemini": "gemini: GEMINI_API_KEY is not set"},
)


def read(folder: Path, routes: str = "", roles: str = "", wishes: Wishes = tables.NO_WISHES) -> Table:
    """The table of two files with this text."""
    (folder / "routes.yaml").write_text(routes)
    (folder / "roles.yaml").write_text(roles or ROLES.read_text("utf-8"))
    return tables.build(folder / "routes.yaml", folder / "roles.yaml", CLOUDS, wishes)


def shares(table: Table, name: str) -> list[tuple[str, float]]:
    return [(share.target, round(share.weight, 3)) for share in table.names[name].targets]


def test_the_shipped_files_can_be_used() -> None:
    """All of them together make a table without a problem, which offers `auto`."""
    table = tables.build(ROUTES, ROLES, catalogue=tables.of_catalogue(entries.load()))
    assert table.problems == ()
    assert [offer.name for offer in table.offers()] == ["auto"]


def test_equal_tables_are_known_as_such_everywhere() -> None:
    """The fingerprint of the shipped files is the same in every process; that of others is another one."""
    script = (
        "from golek_worker.router import tables as t; from golek_worker.router.targets import Target; "
        "clouds = t.Clouds({'a:b': Target('a:b', 'a', 'b')}); print(t.build(t.ROUTES, t.ROLES, clouds).fingerprint())"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in "123"
    }
    assert len(told) == 1
    assert tables.build(ROUTES, ROLES).fingerprint() != tables.build(ROUTES, ROLES, CLOUDS).fingerprint()


def test_the_examples_of_the_shipped_file_can_be_used(tmp_path: Path) -> None:
    """What stands behind `#` in routes.yaml is right once the `#` is taken away."""
    lines = ROUTES.read_text("utf-8").splitlines()
    start = lines.index("routes:")
    plain = [line.replace("  # ", "  ", 1) for line in lines[start:]]
    clouds = {name: Target(name, *name.split(":")) for name in ("openai:gpt-5-mini", "anthropic:claude-haiku-4-5")}
    (tmp_path / "routes.yaml").write_text("\n".join(plain))
    table = tables.build(tmp_path / "routes.yaml", ROLES, Clouds(clouds))
    assert table.problems == ()
    assert {*table.names} == {"smart", "next"}
    assert table.models["qwen3-4b"].fallback == ("openai:gpt-5-mini",)


@pytest.mark.parametrize(
    ("routes", "said"),
    [
        (
            "routes: {a: {targets: [local:x], polcy: never_cloud}}",
            "routes.a.polcy: no such field; did you mean policy; there is targets, fallback, policy, strategy",
        ),
        (
            "routes: {a: {targets: [local:x], policy: clouds}}",
            "routes.a.policy: Invalid enum value 'clouds'; one of cloud_first, local_first, local_only, never_cloud",
        ),
        ("routes: {a: {}}", "routes.a.targets: at least one"),
        ("routes: {a: {targets: [qwen]}}", "routes.a.targets: 'qwen' is no target; did you mean local:qwen?"),
        ("routes: {a: {targets: [opnai:gpt]}}", "routes.a.targets: 'opnai:gpt' is no target"),
        ("models: {a: {fallback: [gpt]}}", "models.a.fallback: 'gpt' is no target"),
        ("routes: {a: {targets: [b]}, b: {targets: [c]}, c: {targets: [a]}}", "in a circle: a -> b -> c -> a"),
        ("routes: {a: {targets: [local:x], fallback: [b]}, b: {targets: [a]}}", "in a circle: a -> b -> a"),
        ("routes: {'local:a': {targets: [local:x]}}", "local: before a name means something of its own"),
        ("models: {'local:a': {policy: local_only}}", "models of the fleet stand here by their own names: a"),
        ("routes: {a: {targets: [{target: local:x, weight: -1}]}}", "weight"),
        ("routes: [", "while parsing"),
    ],
)
def test_a_mistake_in_routes_names_file_and_key(tmp_path: Path, routes: str, said: str) -> None:
    """Nothing unknown is passed over, and names that go in a circle are told as one."""
    with pytest.raises(TablesError) as caught:
        read(tmp_path, routes)
    assert str(tmp_path / "routes.yaml") in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        ("roles: {a: {task_types: [x]}, b: {task_types: [x]}}", "roles.b.task_types: 'x' is one of a already"),
        ("roles: {a: {}}\ndefault: b", "default: 'b' is no role; there is a"),
        ("roles: {a: {}}\nfallbacks: {a: b}", "fallbacks.a: 'b' is no role"),
        ("roles: {a: {}, b: {}}\nfallbacks: {a: b, b: a}", "fallbacks.b: a circle, a -> b -> a"),
        ("roles: {a: {}}\nmodels: {m: [c]}", "models.m: 'c' is no role"),
        ("roles: {a: {tasks: [x]}}", "roles.a.tasks: no such field; did you mean task_types"),
    ],
)
def test_a_mistake_in_roles_names_file_and_key(tmp_path: Path, roles: str, said: str) -> None:
    """As for routes."""
    with pytest.raises(TablesError) as caught:
        read(tmp_path, "", roles)
    assert str(tmp_path / "roles.yaml") in str(caught.value)
    assert said in str(caught.value)


def test_a_role_and_a_task_type_need_no_code(tmp_path: Path) -> None:
    """A role that is only written down is asked as all others are."""
    roles = "roles: {poet: {task_types: [rhyme]}}\nmodels: {bard: [poet]}"
    table = read(tmp_path, "", roles)
    fleet = {name: Target(f"local:{name}", "local", name) for name in ("adam", "bard")}
    targets = {one.name: table.refined(one) for one in fleet.values()}
    over = Situation(targets, {name: State(free=1, slots=1) for name in targets})
    decision = decide(Ask("auto", task_type="rhyme"), table, over)
    assert ([one.target for one in decision.candidates], decision.role) == (["local:bard", "local:adam"], "poet")


def test_who_says_what_a_model_is_good_for() -> None:
    """INFERENCE_MODEL_ROLES counts more than roles.yaml, and that more than the catalogue of models."""
    catalogue = {"phi-4": ["fast"], "only-there": ["coder"]}
    wishes = Wishes(roles={"qwen3-8b": ["thinker"]})
    by_model = tables.build(ROUTES, ROLES, CLOUDS, wishes, catalogue).roles.by_model
    assert by_model["phi-4"] == ("primary", "thinker", "coder")
    assert (by_model["qwen3-8b"], by_model["only-there"]) == (("thinker",), ("coder",))
    assert by_model["openai:gpt"] == ("coder",)


def test_a_name_may_stand_for_names(tmp_path: Path) -> None:
    """Its weight is shared by what the other one stands for, whose fallback is its own as well."""
    table = read(
        tmp_path,
        "routes:\n"
        "  both: {strategy: weighted, targets: [{target: pair, weight: 50}, {target: local:c, weight: 50}]}\n"
        "  pair: {targets: [{target: local:a, weight: 3}, local:b], fallback: [local:d]}\n",
    )
    assert shares(table, "both") == [("local:a", 37.5), ("local:b", 12.5), ("local:c", 50.0)]
    assert table.names["both"].fallback == ("local:d",)


def test_what_does_not_do_what_it_says_is_told(tmp_path: Path) -> None:
    """A cloud that the policy never asks, a policy without a fallback, a provider without its key."""
    table = read(
        tmp_path,
        "routes:\n  a: {targets: [local:x], fallback: ['openai:gpt']}\n"
        "  b: {targets: [gemini:flash], policy: local_first}\n"
        "  c: {targets: [local:x], fallback: ['openai:gpt'], policy: cloud_first}\n"
        "models:\n  m: {policy: local_first}\n",
    )
    told = "\n".join(table.problems)
    assert "routes.a: openai:gpt are never asked, because the policy is never_cloud" in told
    assert "routes.b: gemini:flash cannot be asked: gemini: GEMINI_API_KEY is not set" in told
    assert "routes.c: the policy is cloud_first, and all clouds stand in fallback, which is asked last" in told
    assert "models.m: the policy local_first allows others, and there is no fallback that names any" in told


def test_what_the_fleet_shows_to_be_wrong_is_told(tmp_path: Path) -> None:
    """An alias that a model of the fleet hides, and a target that nobody has seen, with the one that may be meant."""
    table = read(
        tmp_path, "routes:\n  phi-4: {targets: [local:x]}\n  smart: {targets: [local:golek-tiy, local:golek-tiny]}\n"
    )
    assert list(table.beside(["x", "phi-4", "golek-tiny"])) == [
        "routes.phi-4: a model of the fleet has this name and answers; give the alias another one",
        "routes.smart: local:golek-tiy: no worker of it was seen yet; did you mean local:golek-tiny?",
    ]
    assert list(table.beside(["x", "golek-tiny", "golek-tiy"])) == []


def test_who_writes_different_weights_means_them(tmp_path: Path) -> None:
    """Without a strategy they are drawn by these; a strategy that is written counts."""
    pair = "targets: [{target: 'local:a', weight: 95}, {target: 'local:b', weight: 5}]"
    table = read(
        tmp_path, f"routes:\n  a: {{{pair}}}\n  b: {{{pair}, strategy: in_order}}\n  c: {{targets: [local:a]}}\n"
    )
    assert [table.names[name].strategy for name in "abc"] == ["weighted", "in_order", None]


def test_offers_name_who_may_answer(tmp_path: Path) -> None:
    """`auto`, aliases and clouds' models, each with its owner and targets."""
    table = read(tmp_path, "routes: {smart: {targets: ['local:a', 'openai:gpt'], policy: local_first}}")
    found = {offer.name: (offer.owned_by, offer.targets) for offer in table.offers()}
    assert found == {
        "auto": ("golek", []),
        "smart": ("golek", ["local:a", "openai:gpt"]),
        "openai:gpt": ("openai", ["openai:gpt"]),
    }


def test_another_file_counts_and_a_broken_one_does_not(tmp_path: Path) -> None:
    """A changed file is read again; one that is wrong leaves the table, and is told until it is right."""
    file = tmp_path / "routes.yaml"
    file.write_text("routes: {a: {targets: [local:x]}}")
    held = Tables(lambda: tables.build(file, ROLES, CLOUDS), [file])
    assert not held.refresh()
    file.write_text("routes: {a: {targets: [local:y, local:z]}}")
    assert held.refresh()
    assert held.table.names["a"].targets == (Share("local:y"), Share("local:z"))
    file.write_text("routes: {a: {targets: [nothing at all]}}")
    assert held.refresh()
    assert held.table.names["a"].targets == (Share("local:y"), Share("local:z"))
    assert "still counts" in held.table.problems[-1]
    file.write_text(json.dumps({"routes": {"b": {"targets": ["local:x"]}}}))
    assert held.refresh()
    assert ([*held.table.names], held.table.problems) == (["b"], ())


def test_a_file_that_was_emptied_does_not_count(tmp_path: Path) -> None:
    """Who saves a file may empty it first: names do not vanish meanwhile, also when something else is read again."""
    file = tmp_path / "routes.yaml"
    file.write_text("routes: {a: {targets: [local:x]}}")
    held = Tables(lambda: tables.build(file, ROLES, CLOUDS), [file])
    file.write_text("")
    assert held.refresh()
    assert [*held.table.names] == ["a"]
    assert "is empty; what was read before still counts" in held.table.problems[-1]
    asyncio.run(held.again())
    assert [*held.table.names] == ["a"]
    file.write_text("routes: {}")
    assert held.refresh()
    assert ([*held.table.names], held.table.problems) == ([], ())


async def test_a_file_is_read_once_it_is_written(tmp_path: Path) -> None:
    """Whoever writes it bit by bit is waited for: what stands there meanwhile is served by nobody."""
    file = tmp_path / "routes.yaml"
    file.write_text("routes: {a: {targets: [local:x]}}")
    read = list[str]()

    def build() -> Table:
        read.append(file.read_text())
        return tables.build(file, ROLES, CLOUDS)

    watching = asyncio.create_task(Tables(build, [file]).watch())
    try:
        text = "routes:\n" + "".join(f"  b{i}: {{targets: [local:x]}}\n" for i in range(12))
        for end in range(1, 13):
            file.write_text("".join(text.splitlines(keepends=True)[:end]))
            await asyncio.sleep(0.15)
        file.write_text(text)
        async with asyncio.timeout(10):
            while len(read) == 1:
                await asyncio.sleep(0.02)
        assert read[1:] == [text]
    finally:
        watching.cancel()


def test_roles_of_models_need_the_file_of_roles(tmp_path: Path) -> None:
    """INFERENCE_MODEL_ROLES without it would do nothing: it is an error that says so."""
    with pytest.raises(TablesError, match="INFERENCE_MODEL_ROLES"):
        tables.build(ROUTES, tmp_path / "none.yaml", wishes=Wishes(roles={"m": ["coder"]}))
