"""Which adapters an engine shall have, over loads, changes and crashes; and what ADAPTERS says."""

import pytest

from golek_wire.errors import AdapterNotFoundError
from golek_worker.engine.adapters import CRASHES, AdapterBook
from golek_worker.engine.base import AdapterChanged, LoadAdapter, UnloadAdapter
from golek_worker.settings import adapters

ONE, TWO = LoadAdapter("one", "1.gguf"), LoadAdapter("two", "2.gguf", 0.5)


def loaded(book: AdapterBook) -> AdapterBook:
    """The engine comes and loads all that is wanted."""
    names: list[str] = []
    for command in book.begin():
        names = sorted([*names, command.name])
        book.changed(AdapterChanged(command.name, names))
    return book


async def test_what_was_changed_holds_for_the_next_engine() -> None:
    """Loaded and replaced ones come again, unloaded ones do not, failed ones never were."""
    book = loaded(AdapterBook([ONE]))
    answers = [book.ask(TWO), book.ask(UnloadAdapter("one")), book.ask(LoadAdapter("bad", "x"))]
    book.changed(AdapterChanged("two", ["one", "two"]))
    book.changed(AdapterChanged("one", ["two"]))
    book.changed(AdapterChanged("bad", ["two"], "x: no such file"))
    assert [answer.result().problem for answer in answers] == [None, None, "x: no such file"]
    book.lost(crashed=True)
    assert (book.loaded, book.begin()) == ([], [TWO])


async def test_a_change_without_an_engine_is_made_by_the_next() -> None:
    """As while the model is unloaded: it is noted, and what requests may name follows at once."""
    book = AdapterBook([ONE])
    assert book.note(TWO).loaded == ["one", "two"]
    book.check("two")
    assert book.note(UnloadAdapter("one")).problem is None
    assert book.note(UnloadAdapter("one")).problem
    with pytest.raises(AdapterNotFoundError):
        book.check("one")
    assert book.begin() == [TWO]


async def test_an_adapter_that_fails_at_a_load_is_told_and_tried_with_the_next() -> None:
    """Requests are refused with the reason; the file may be there the next time."""
    told: list[str] = []
    book = AdapterBook([ONE], told.append)
    book.begin()
    assert not book.is_settled
    book.changed(AdapterChanged("one", [], "1.gguf: no such file"))
    assert told == ["one: 1.gguf: no such file"]
    assert (book.problems, book.is_settled) == ({"one": "1.gguf: no such file"}, True)
    with pytest.raises(AdapterNotFoundError, match=r"none is loaded \(1\.gguf: no such file\)"):
        book.check("one")
    loaded(book).check("one")
    assert book.problems == {}


async def test_an_adapter_that_kills_engines_is_not_tried_for_ever() -> None:
    """The first that was not answered is to blame; who waits for an answer gets one. An ordered exit is no crash."""
    book = AdapterBook([ONE, TWO])
    for _ in range(CRASHES):
        assert book.begin() == [ONE, TWO]
        waiting = book.ask(UnloadAdapter("two"))
        book.lost(crashed=True)
        assert "ended before it answered" in (waiting.result().problem or "")
    assert book.begin() == [TWO]
    with pytest.raises(AdapterNotFoundError, match="the engine ended while it loaded this"):
        book.check("one")
    for _ in range(CRASHES + 1):
        book.lost(crashed=False)
        assert book.begin() == [TWO]
    book.note(ONE)
    assert ONE in book.begin()


def test_adapters_are_read_from_the_env_file() -> None:
    """Names, paths and scales; blanks do not matter."""
    found = adapters.read("one=data/a.gguf, two = b@2.gguf@0.5 ,three=c@-1")
    assert [(one.name, one.path, one.scale) for one in found] == [
        ("one", "data/a.gguf", 1.0),
        ("two", "b@2.gguf", 0.5),
        ("three", "c", -1.0),
    ]
    assert adapters.read("") == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("one", "'one' is no name=path"),
        ("one=", "'one=' is no name=path"),
        ("a b=x", "'a b' is no name"),
        ("a=x,a=y", "'a' is named twice"),
        ("a=x@1e", "'1e' is no scale"),
        ("a=x@1e999", "'1e999' is no scale"),
    ],
)
def test_a_wrong_entry_is_told(text: str, told: str) -> None:
    """The entry and what would have been right."""
    (mistake,) = adapters.mistakes(text)
    assert mistake.startswith(f"ADAPTERS={text}: ")
    assert told in mistake
