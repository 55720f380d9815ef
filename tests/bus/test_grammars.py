"""Named grammars: stored by one worker, known to all, asked for by name."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from golek_client import (
    BadRequestError,
    ConflictError,
    Golek,
    InvalidGrammarError,
    UnauthorizedError,
    UnknownGrammarError,
)
from golek_client.connection import close, connect, flush
from golek_wire import keys
from golek_worker import structure
from golek_worker.bus import identity
from golek_worker.bus.grammars import GrammarBook
from golek_worker.grammars import gbnf
from tests.support.keys import Known
from tests.support.programs import Done, golek
from tests.support.workers import WorkerProcess

YES = 'root ::= "yes" | "no"'


@pytest.fixture
def worker(nats_server: str, tmp_path: Path) -> Iterator[WorkerProcess]:
    with WorkerProcess(nats_server, tmp_path / "data", "golek-tiny") as worker:
        yield worker


@pytest.fixture
async def books(nats_server: str) -> AsyncIterator[list[GrammarBook]]:
    """Two workers' knowledge of the grammars, of which only the first answers."""
    clients = [await connect(nats_server, f"book-{n}") for n in range(2)]
    found = [await GrammarBook.open(client, structure.built_in(), gbnf.check) for client in clients]
    await found[0].serve(identity.Open())
    await flush(clients[0])
    yield found
    for client in clients:
        await close(client)


async def soon(condition: Callable[[], bool]) -> None:
    """Wait until it is so, at most 2 s."""
    async with asyncio.timeout(2):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_grammar_is_stored_changed_and_removed(golek: Golek, books: list[GrammarBook]) -> None:
    """List, get, put, overwrite, delete; times and revisions tell what happened, and the content is as it was put."""
    assert [one.name for one in await golek.grammars()] == ["code", "json"]
    first = await golek.put_grammar("yes-no", YES, description="An answer")
    found = await golek.grammar("yes-no")
    assert (found.content, found.description, found.revision) == (YES, "An answer", first.revision)
    assert found.created == found.updated
    second = await golek.put_grammar("yes-no", 'root ::= "maybe"')
    assert second.revision > first.revision
    assert second.created == first.created < second.updated
    listed = {one.name: one for one in await golek.grammars()}
    assert listed["yes-no"].content == ""
    assert listed["yes-no"].revision == second.revision
    assert listed["json"].built_in
    assert listed["json"].description == "one JSON value, whatever it is"
    await golek.delete_grammar("yes-no")
    assert books[0].text("yes-no") is None
    with pytest.raises(UnknownGrammarError, match="yes-no"):
        await golek.grammar("yes-no")
    with pytest.raises(UnknownGrammarError, match="yes-no"):
        await golek.delete_grammar("yes-no")
    again = await golek.put_grammar("yes-no", YES, revision=0)
    assert again.created > first.created


async def test_what_cannot_be_stored_says_why(golek: Golek, books: list[GrammarBook]) -> None:
    """A mistake with its place, a wrong name, a built-in one; nothing is stored."""
    with pytest.raises(InvalidGrammarError, match="content: line 2, column 6: the rule 'c' is not defined") as caught:
        await golek.put_grammar("bad", "root ::= a\na ::=c\n")
    assert (caught.value.details["line"], caught.value.details["column"]) == (2, 6)
    for name in ("a b", "a..b", ".a", "x" * 65, ""):
        with pytest.raises(BadRequestError, match="name"):
            await golek.put_grammar(name, YES)
    for change in (golek.put_grammar("json", YES), golek.delete_grammar("code")):
        with pytest.raises(BadRequestError, match="built in"):
            await change
    assert [one.name for one in await golek.grammars()] == ["code", "json"]
    assert books[0].text("bad") is None


async def test_a_revision_guards_what_another_stored(golek: Golek, books: list[GrammarBook]) -> None:
    """Put and delete with an old revision, or with 0 where there is one, change nothing; of many at once one wins."""
    del books
    first = await golek.put_grammar("a", YES)
    await golek.put_grammar("a", 'root ::= "x"', revision=first.revision)
    for change in (
        golek.put_grammar("a", YES, revision=first.revision),
        golek.put_grammar("a", YES, revision=0),
        golek.delete_grammar("a", revision=first.revision),
    ):
        with pytest.raises(ConflictError):
            await change
    ended = await asyncio.gather(
        *(golek.put_grammar("b", f'root ::= "{n}"', revision=0) for n in range(8)), return_exceptions=True
    )
    assert sum(isinstance(one, ConflictError) for one in ended) == 7
    await asyncio.gather(*(golek.put_grammar("b", f'root ::= "{n}"') for n in range(8)))


async def test_every_worker_hears_of_a_put(golek: Golek, books: list[GrammarBook], nats_server: str) -> None:
    """The other worker's knowledge follows a put and a delete without asking, and a worker that starts reads it."""
    await golek.put_grammar("shared", YES)
    await soon(lambda: books[1].text("shared") == YES)
    client = await connect(nats_server, "late")
    late = await GrammarBook.open(client, {}, gbnf.check)
    assert late.text("shared") == YES
    assert late.text("code") is None
    await golek.delete_grammar("shared")
    await soon(lambda: books[1].text("shared") is None and late.text("shared") is None)
    await close(client)


async def test_what_is_not_a_row_is_passed_over(books: list[GrammarBook], nats_server: str) -> None:
    """A value that somebody else wrote into the bucket is no grammar and harms nobody."""
    client: Client = await nats.connect(nats_server)
    bucket = await client.jetstream().key_value("GOLEK_GRAMMARS")
    await bucket.put("foreign", YES.encode())
    await bucket.put("own", json.dumps({"content": YES}).encode())
    await soon(lambda: books[1].text("own") == YES)
    assert books[1].text("foreign") is None
    await client.close()


async def test_a_name_is_followed_as_its_grammar(golek: Golek, worker: WorkerProcess) -> None:
    """Put over the raw bus, ask by name, built in or stored; an unknown name is a 400 at once."""
    del worker
    client: Client = await nats.connect(golek.url)

    async def ask(verb: str, body: Any) -> Any:
        return json.loads((await client.request(f"grammars.{verb}", json.dumps(body).encode(), timeout=5)).data)

    stored = await ask("put", {"name": "answer", "content": YES})
    assert stored["name"] == "answer"
    assert "content" not in stored
    reply = await golek.ask("golek-tiny", "Is it?", grammar="answer")
    assert reply.text in ("yes", "no")
    reply = await golek.ask("golek-tiny", "Write it", grammar="code", max_tokens=200, seed=1)
    assert reply.text.startswith("```")
    assert (await ask("delete", {"name": "answer"})) == {"name": "answer", "deleted": True}
    with pytest.raises(UnknownGrammarError, match="'answer'"):
        await golek.ask("golek-tiny", "Is it?", grammar="answer")
    wrong = await ask("put", {"name": 5})
    assert (wrong["error"]["status"], wrong["error"]["param"]) == (400, "name")
    await client.close()


async def test_the_commands(nats_server: str, books: list[GrammarBook], tmp_path: Path) -> None:
    """`golek grammar put | list | show | rm`, from a file and from standard input; a mistake is told with its place."""
    del books
    file = tmp_path / "answer.gbnf"
    file.write_text(YES)

    async def run(*words: str, given: bytes = b"") -> Done:
        return await golek(nats_server, "grammar", *words, stdin=given)

    assert (await run("put", "answer", str(file), "-d", "An answer"))[:2] == (0, "stored answer, revision 1\n")
    status, out, _ = await run("list")
    assert status == 0
    assert re.search(r"answer +1 +\d{4}-\S+ +An answer", out)
    assert re.search(r"json +built in +one JSON value", out)
    assert (await run("show", "answer"))[:2] == (0, YES)
    status, _, err = await run("put", "answer", "-", given=b'root ::= "a')
    assert (status, err.partition("line 1, column 12")[1]) == (1, "line 1, column 12")
    status, _, err = await run("put", "answer", str(file), "--revision", "9")
    assert (status, err.startswith("error CONFLICT: answer has revision 1 and not 9")) == (1, True)
    assert (await run("rm", "answer"))[:2] == (0, "removed answer\n")
    status, _, err = await run("show", "answer")
    assert "hint: `golek grammar list` shows all" in err


async def test_where_keys_are_wanted_who_stores_needs_one(nats_server: str) -> None:
    """Without a key nothing is stored or removed; with one it is. Reading is free."""
    client = await connect(nats_server, "keys")
    book = await GrammarBook.open(client, structure.built_in(), gbnf.check)
    await book.serve(identity.Keys("tiny", Known({keys.digest("secret"): keys.Key("ann")})))
    await flush(client)
    async with Golek(nats_server, key="") as nobody, Golek(nats_server, key="secret") as ann:
        assert len(await nobody.grammars()) == 2
        for change in (nobody.put_grammar("a", YES), nobody.delete_grammar("a")):
            with pytest.raises(UnauthorizedError):
                await change
        await ann.put_grammar("a", YES)
        assert (await nobody.grammar("a")).content == YES
    await close(client)
