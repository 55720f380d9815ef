"""Keys are made and taken away in the key file: `golek keys`."""

import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from golek_wire.keys import Budget, Key, digest, parse_budget
from golek_worker.bus import keyfile
from golek_worker.commands.workers import app


def golek(*words: str) -> Result:
    """Where no fleet can be asked."""
    return CliRunner().invoke(app, ["keys", *words], env={"NATS_URL": "nats://127.0.0.1:1"})


def test_a_key_is_shown_once_and_kept_as_its_digest(tmp_path: Path) -> None:
    """On standard output alone, so that a shell can take it; the file is its owner's."""
    limits = ["--models", "a,b", "--rpm", "60", "--tpm", "9", "--concurrent", "4", "--budget", "20req/day"]
    made = golek("create", "ann", *limits, "--expires", "2026-12-31", "--data", str(tmp_path))
    assert made.exit_code == 0, made.output
    key = made.stdout.strip()
    file = tmp_path / "api_keys.txt"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key not in file.read_text()
    expires = "2026-12-31T00:00:00Z"
    assert keyfile.read(file).keys == {
        digest(key): Key("ann", ["a", "b"], "file", 60, 9, 4, Budget(20, "requests", "day"), expires)
    }
    listed = golek("list", "--data", str(tmp_path))
    assert listed.stdout.splitlines()[1].split() == ["ann", "a,b", "60", "9", "4", "20req/day", "2026-12-31", "file"]
    assert "the fleet could not be asked" in listed.stderr
    assert "warning: nobody knows a model a, b on this machine" in made.stderr
    for text in (listed.output, golek("list", "--json", "--data", str(tmp_path)).output, made.stderr):
        assert key not in text
        assert digest(key) not in text


@pytest.mark.parametrize(
    ("text", "budget", "shown"),
    [
        ("1000000", Budget(1_000_000), "1000000/month"),
        ("20req/total", Budget(20, "requests", "total"), "20req/total"),
        ("5usd/day", Budget(5_000_000, "usd", "day"), "5usd/day"),
        ("0.5usd", Budget(500_000, "usd", "month"), "0.50usd/month"),
        ("0.000001usd/hour", Budget(1, "usd", "hour"), "0.000001usd/hour"),
        ("12.345678usd/day", Budget(12_345_678, "usd", "day"), "12.345678usd/day"),
    ],
)
def test_a_budget_is_shown_as_it_may_be_written(text: str, budget: Budget, shown: str) -> None:
    """In tokens, in requests or in dollars."""
    assert parse_budget(text) == budget
    assert str(budget) == shown
    assert parse_budget(shown) == budget


@pytest.mark.parametrize(
    "text", ["", "0", "0usd", "1.5", "1.5req", "1.2345678usd", "5eur", "-1usd", "5usd/week", "9999999999usd"]
)
def test_a_budget_that_is_none_is_refused(text: str) -> None:
    """With what would be one."""
    with pytest.raises(ValueError, match="dollars that clouds take as 5usd"):
        parse_budget(text)


def test_a_holder_may_have_two_keys_until_both_are_taken_away(tmp_path: Path) -> None:
    """Lines of others, and comments, stay as they are."""
    file = tmp_path / "keys.txt"
    before = "# ours\nbob:in-clear rpm=5  # for tests"
    file.write_text(before)
    for limits, others in (["--rpm", "60"], ""), ([], "ann has 1 more there (rpm=60)"):
        assert others in golek("create", "ann", *limits, "--file", str(file)).stderr
    assert len(keyfile.read(file).keys) == 3
    assert "2 keys of ann taken" in golek("revoke", "ann", "--file", str(file)).stdout
    assert file.read_text() == before + "\n"
    again = golek("revoke", "ann", "--file", str(file))
    assert (again.exit_code, "holds no key of ann" in again.stderr) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["create", "a.b"], "a key_id has at most 128"),
        (["create", "ann", "--budget", "5/week"], "budget=5/week: tokens from 1"),
        (["create", "ann", "--expires", "soon"], "expires=soon: a day as"),
        (["create", "ann", "--models", "a b"], "fields of the form name=value"),
        (["create", "ann", "--rpm", "0"], "rpm=0: a whole number"),
    ],
)
def test_a_wrong_wish_changes_nothing(tmp_path: Path, words: list[str], said: str) -> None:
    """It is named, with what would be right."""
    done = golek(*words, "--data", str(tmp_path))
    assert done.exit_code == 1
    assert said in done.stderr
    assert not (tmp_path / "api_keys.txt").exists()


def test_a_file_that_is_wrong_already_is_not_written(tmp_path: Path) -> None:
    """Its line is named: workers would not take the new key either."""
    file = tmp_path / "api_keys.txt"
    file.write_text("ann\n")
    for words in (["create", "bob"], ["list"]):
        done = golek(*words, "--data", str(tmp_path))
        assert (done.exit_code, "api_keys.txt:1: not of the form" in done.stderr) == (1, True)
    assert file.read_text() == "ann\n"


def test_a_mistyped_limit_is_shown(tmp_path: Path) -> None:
    """With its line: it does not limit, and looks like a key without limits."""
    (tmp_path / "api_keys.txt").write_text("ann:in-clear rmp=3\n")
    assert "api_keys.txt:1: nobody knows the field rmp" in golek("list", "--data", str(tmp_path)).stderr
