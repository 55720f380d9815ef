"""How a model's context is divided: the file, the rule behind it, and what is refused."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from golek_worker.gguf import read_header
from golek_worker.orchestration import budgets
from golek_worker.orchestration.budgets import Budget, BudgetsError, by_rule

PARTS = ("system", "trajectory", "handoff", "user_query", "generation")
CHAT = [one for one in yaml.safe_load(Path("data/catalog/models.yaml").read_text("utf-8"))["models"]
        if one["kind"] == "inference"]  # fmt: skip


def own_context(model: str) -> object:
    """What the file of a model says that ships; the catalogue does not."""
    return read_header(Path(f"data/models/{model}/model.gguf")).metadata["llama.context_length"]


@pytest.mark.parametrize("entry", CHAT, ids=lambda one: one["id"])
def test_every_chat_model_of_the_catalogue_has_a_budget_by_the_rule(entry: dict[str, object]) -> None:
    """Listed with the context that it runs with, and with the figures that `by_rule` gives."""
    listed = budgets.load().listed[str(entry["id"])]
    assert listed == by_rule(int(str(entry.get("context_length") or own_context(str(entry["id"])))))
    assert sum(getattr(listed, part) for part in PARTS) == listed.total


def test_nothing_is_listed_that_the_catalogue_does_not_have() -> None:
    """A renamed model takes its budget along."""
    assert set(budgets.load().listed) == {one["id"] for one in CHAT}


@pytest.mark.parametrize(
    ("model", "figures"),
    [
        ("llama-3.2-3b", (8192, 500, 300, 1500, 2000, 3892)),
        ("granite-8b-code-128k", (131072, 1000, 500, 4000, 32000, 93572)),
    ],
)
def test_the_two_budgets_that_are_given_are_kept(model: str, figures: tuple[int, ...]) -> None:
    """Their figures stand in the requirements."""
    found = budgets.load().of(model)
    assert found is not None
    assert (found.total, *(getattr(found, part) for part in PARTS)) == figures


@pytest.mark.parametrize(
    ("context", "usable", "room"),
    [(8192, 6000, 3892), (16384, 14000, 8000), (32768, 28000, 16000), (131072, 120000, 64000)],
)
def test_the_table_of_usable_tokens_holds(context: int, usable: int, room: int) -> None:
    """Each size of the table leaves at least what it promises after the system's words, and to write."""
    found = by_rule(context)
    assert context - found.system >= usable
    assert found.generation >= room


@given(st.integers(1, 2**24))
def test_parts_are_the_whole_whatever_the_context(context: int) -> None:
    """By the rule nothing is lost and nothing negative, and most of a context is for conversation and answer."""
    found = by_rule(context)
    assert sum(getattr(found, part) for part in PARTS) == found.total == context
    assert min(getattr(found, part) for part in PARTS) >= 0
    assert found.generation * 2 >= context * 0.9


def test_another_context_than_the_listed_one_goes_by_the_rule() -> None:
    """CTX_SIZE may say less than the catalogue; an unlisted model of unknown size is not limited."""
    known = budgets.load()
    assert known.of("phi-4", 4096) == by_rule(4096)
    assert known.of("phi-4") == known.of("phi-4", 16384) == by_rule(16384)
    assert known.of("nobody", 5000) == by_rule(5000)
    assert known.of("nobody") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("models: {a: {total: 9, system: 1, trajectory: 1, handoff: 1, user_query: 1, generation: 1}}",
         "models.a: system, trajectory, handoff, user_query and generation are 5; total is 9"),
        ("models: {a: {total: 5, system: 1, trajectory: 1, handoff: 1, user_query: 1, generation: -1}}",
         "models.a.generation"),
        ("models: {a: {total: 5, sistem: 1, trajectory: 1, handoff: 1, user_query: 1, generation: 1}}",
         "models.a.sistem: no such field; did you mean system"),
        ("models: {a: {total: 5}}", "models.a"),
        ("models: [1]", "models"),
        ("budgets: {}", "models"),
        ("", "models"),
        ("a: [", "budgets.yaml"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_by_file_and_key(tmp_path: Path, text: str, says: str) -> None:
    """Whoever wrote it reads where the mistake stands."""
    file = tmp_path / "budgets.yaml"
    file.write_text(text)
    with pytest.raises(BudgetsError) as caught:
        budgets.load(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert says in str(caught.value)


def test_without_a_file_the_rule_counts(tmp_path: Path) -> None:
    """A deployment may leave it out."""
    assert budgets.load(tmp_path / "no.yaml").of("phi-4", 8192) == Budget(8192, 500, 300, 1500, 2000, 3892)
