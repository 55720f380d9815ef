"""A fleet that wants keys: the key file, the bucket, and what callers meet."""

import asyncio
import hashlib
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import nats.errors
import pytest
from typer.testing import CliRunner, Result

from golek_client import ForbiddenError, Golek, InferenceServiceError, UnauthorizedError
from golek_client.connection import close, connect
from golek_wire.keys import Key, digest
from golek_worker.bus.identity import Keys
from golek_worker.bus.keys import UNKNOWN_S, KeyBook
from golek_worker.bus.strangers import Strangers
from golek_worker.commands.workers import app
from tests.support import raw
from tests.support.workers import WorkerProcess

ANN, BOB = "ann-key-0123456789abcdef", "bob-key-0123456789abcdef"


async def within(seconds: float, true: Callable[[], Awaitable[bool]]) -> None:
    """Wait until `true`."""
    async with asyncio.timeout(seconds):
        while not await true():
            await asyncio.sleep(0.02)


async def outcome(url: str, key: str) -> str:
    """The code of what a caller with `key` gets; `ok` for an answer."""
    try:
        async with Golek(url, key=key, deadline=5) as golek:
            await golek.ask("echo", "hi")
    except InferenceServiceError as error:
        return error.code
    return "ok"


async def test_keys_open_and_close_the_fleet(nats_server: str, tmp_path: Path) -> None:
    """A line that goes takes its key away, a row of the bucket alone stays, and no key is written down."""
    data = tmp_path / "data"
    data.mkdir()
    file = data / "api_keys.txt"
    file.write_text(f"ann:{ANN}\nbob:{BOB} models=other\n")
    file.chmod(0o644)
    with WorkerProcess(nats_server, data, GOLEK_NATS_IDENTITY="keys") as worker:
        assert [await outcome(nats_server, key) for key in (ANN, BOB, "x", "")] == [
            "ok", "FORBIDDEN", "UNAUTHORIZED", "UNAUTHORIZED",
        ]  # fmt: skip
        async with raw.connected(nats_server) as client:
            refused, _ = await raw.ask(client, "models.echo.load", b"")
            assert refused["error"]["code"] == "UNAUTHORIZED"
            obeyed, _ = await raw.ask(client, "models.echo.load", b"", Authorization=f"Bearer {ANN}")
            assert obeyed["status"] == "online"
            jobs = await client.subscribe("inference.job.echo.>")
            inbox = client.new_inbox()
            headers = {"Authorization": f"Bearer {ANN}", "Golek-Principal": "bob", "X-Own": "1"}
            await client.publish("inference.request.echo", b'{"input": "hi"}', reply=inbox, headers=headers)
            job = await jobs.next_msg(5)
            assert job.headers["Golek-Principal"] == "ann"
            assert "Authorization" not in job.headers
            bucket = await client.jetstream().key_value("GOLEK_KEYS")
            by_hand = hashlib.sha256(b"by-hand").hexdigest()
            await bucket.put(by_hand, json.dumps({"key_id": "carol", "of_later": [1]}).encode())
            await within(5, lambda: _is(nats_server, "by-hand", "ok"))
            file.write_text(f"bob:{BOB}\n")
            os.utime(file, (1, 1))
            await within(8, lambda: _is(nats_server, ANN, "UNAUTHORIZED"))
            assert [await outcome(nats_server, key) for key in (BOB, "by-hand")] == ["ok", "ok"]
            file.write_text("bob\n")
            await within(8, lambda: _said(worker, "keys.file"))
            assert await outcome(nats_server, BOB) == "ok"  # a file that cannot be read changes nothing
        assert worker.log_lines("keys.mode")[0]["detail"].startswith("others than its owner")
    written = [path for path in data.rglob("*") if path.is_file() and path != file]
    assert [path for path in written if ANN.encode() in path.read_bytes() or BOB.encode() in path.read_bytes()] == []


async def _is(url: str, key: str, wanted: str) -> bool:
    return await outcome(url, key) == wanted


async def _said(worker: WorkerProcess, event: str) -> bool:
    return bool(worker.log_lines(event))


def test_a_wrong_key_file_keeps_a_worker_from_starting(nats_server: str, tmp_path: Path) -> None:
    """It names file and line; a fleet with half of its keys is not what was asked for."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "keys.txt").write_text("ann:one\nbob\n")
    worker = WorkerProcess(nats_server, data, GOLEK_NATS_IDENTITY="keys", GOLEK_KEY_FILE="data/keys.txt")
    assert "keys.txt:2: not of the form key_id:api_key" in worker.start_failing()


async def test_the_clients_variable_is_its_key(
    nats_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GOLEK_API_KEY, for streams as well; the errors are types of their own."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "api_keys.txt").write_text(f"ann:{ANN}\nbob:{BOB} models=other\n")
    with WorkerProcess(nats_server, data, GOLEK_NATS_IDENTITY="keys"):
        monkeypatch.setenv("GOLEK_API_KEY", ANN)
        async with Golek(nats_server, deadline=5) as golek:
            assert "".join([piece async for piece in golek.stream("echo", "a b")]) == "a b"
            receipt = await golek.submit("echo", "for later")
            assert receipt.principal == "ann"
            assert (await golek.wait(receipt, 5)).req_id == receipt.req_id
        async with Golek(nats_server, key=BOB, deadline=5) as golek:
            with pytest.raises(ForbiddenError, match="bob is for other"):
                await golek.ask("echo", "hi")
        async with Golek(nats_server, key="", deadline=5) as golek:
            with pytest.raises(UnauthorizedError):
                await golek.ask("echo", "hi")


async def test_all_who_bring_a_new_key_at_once_are_known(nats_server: str, tmp_path: Path) -> None:
    """The bucket is asked for it once, and its word is for all of them."""
    client = await connect(nats_server, "test")
    book = await KeyBook.open(client, tmp_path / "none")
    asked: list[Any] = []

    async def hear(message: Any) -> None:
        asked.append(message)

    await client.subscribe("$JS.API.STREAM.MSG.GET.KV_GOLEK_KEYS", cb=hear)
    await client.jetstream().publish(f"$KV.GOLEK_KEYS.{digest(ANN)}", msgspec.json.encode(Key("ann")))
    found = await asyncio.gather(*(book.look(digest(ANN)) for _ in range(5)))
    assert [key.key_id if key is not None else None for key in found] == ["ann"] * 5
    await client.flush()
    assert len(asked) == 1
    await close(client)


async def test_a_key_that_nobody_can_look_up_is_refused_once(
    nats_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the bucket is silent for long, the request does not wait for its word again, and is told to come back."""
    client = await connect(nats_server, "test")
    book = await KeyBook.open(client, tmp_path / "none")
    callers, ended, looks = Keys("echo", book), asyncio.Event(), []
    refused: list[InferenceServiceError] = []

    async def silent(subject: str, *_: Any, **__: Any) -> Any:
        looks.append(subject)
        await asyncio.sleep(UNKNOWN_S + 0.1)
        raise nats.errors.TimeoutError

    async def admit(message: Any) -> None:
        stranger = callers.stranger(message)
        if not stranger or not strangers.take(stranger, message):
            ended.set()

    async def refuse(_: Any, error: InferenceServiceError) -> None:
        refused.append(error)
        ended.set()

    strangers = Strangers(book.look, admit, refuse)
    monkeypatch.setattr(client, "request", silent)
    async with asyncio.timeout(4):
        await admit({"Authorization": f"Bearer {ANN}"})
        await ended.wait()
    assert [(error.code, error.details["may_run"]) for error in refused] == [("BUS_UNAVAILABLE", False)]
    assert len(looks) == 1
    assert not book.is_worth_a_look(digest(ANN))
    await close(client)


async def test_a_key_whose_time_is_prolonged_after_its_end_works_at_once(nats_server: str, tmp_path: Path) -> None:
    """What was read of it before does not count against it."""
    client = await connect(nats_server, "test")
    stream, subject = client.jetstream(), f"$KV.GOLEK_KEYS.{digest(ANN)}"
    await KeyBook.open(client, tmp_path / "none")
    await stream.publish(subject, msgspec.json.encode(Key("ann", expires="2020-01-01T00:00:00Z")))
    book = await KeyBook.open(client, tmp_path / "none")
    assert book.find(digest(ANN)) is None
    for expires in ("2999-01-01T00:00:00Z", None):
        book = await KeyBook.open(client, tmp_path / "none")
        await stream.publish(subject, msgspec.json.encode(Key("ann", expires=expires)))
        assert await book.look(digest(ANN)) == Key("ann", expires=expires)
        await stream.publish(subject, msgspec.json.encode(Key("ann", expires="2020-01-01T00:00:00Z")))
    await close(client)


async def test_a_change_of_one_key_reads_one_row(nats_server: str, tmp_path: Path) -> None:
    """Of many; and one that was purged, which leaves no trace, or a bucket that was made anew, is not believed."""
    client = await connect(nats_server, "test")
    stream, asked = client.jetstream(), []

    async def hear(message: Any) -> None:
        asked.append(message)

    async def put(name: str, key_id: str) -> None:
        await stream.publish(f"$KV.GOLEK_KEYS.{digest(name)}", msgspec.json.encode(Key(key_id)))

    def known(book: KeyBook) -> dict[str, str]:
        return {name: key.key_id for name in "abcdef" if (key := book.find(digest(name))) is not None}

    await KeyBook.open(client, tmp_path / "none")
    for name in "abcde":
        await put(name, name)
    book = await KeyBook.open(client, tmp_path / "none")
    running = asyncio.create_task(book.run())
    await client.subscribe("$JS.API.STREAM.MSG.GET.KV_GOLEK_KEYS", cb=hear)
    await put("a", "other")
    await within(5, lambda: _now(known(book)["a"] == "other"))
    assert len(asked) == 2  # the row, and that there are no more
    await (await stream.key_value("GOLEK_KEYS")).delete(digest("b"))
    await within(5, lambda: _now("b" not in known(book)))
    await put("b", "again")
    await within(5, lambda: _now("b" in known(book)))
    await stream.purge_stream("KV_GOLEK_KEYS", subject=f"$KV.GOLEK_KEYS.{digest('c')}")
    await put("f", "f")
    await within(5, lambda: _now("c" not in known(book)))
    assert known(book) == {"a": "other", "b": "again", "d": "d", "e": "e", "f": "f"}
    await stream.delete_stream("KV_GOLEK_KEYS")
    await (await KeyBook.open(client, tmp_path / "none")).put(digest("d"), Key("new"))
    await within(5, lambda: _now(known(book) == {"d": "new"}))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await close(client)


async def _now(said: bool) -> bool:
    return said


async def test_keys_of_a_file_that_is_gone_are_shown_and_taken_away(nats_server: str, tmp_path: Path) -> None:
    """Deleting the file revokes nothing, which the worker's log tells; `golek keys` knows what the fleet knows. What
    GOLEK_AUTH wrote is not among it."""

    def golek(*words: str) -> Result:
        given = ["keys", *words, "--data", str(tmp_path), "--server", nats_server]
        return CliRunner().invoke(app, given)

    file = tmp_path / "api_keys.txt"
    file.write_text(f"ann:{ANN} rpm=60\nbob:{BOB}\n")
    with WorkerProcess(nats_server, tmp_path, GOLEK_NATS_IDENTITY="keys") as worker:
        async with raw.connected(nats_server) as client:
            bucket = await client.jetstream().key_value("GOLEK_KEYS")
            await bucket.put(digest("a-guest"), msgspec.json.encode(Key("guest", source="auth")))
        shown = await asyncio.to_thread(golek, "list")
        assert [line.split()[0::7] for line in shown.stdout.splitlines()[1:]] == [["ann", "file"], ["bob", "file"]]
        file.unlink()
        await within(8, lambda: _said(worker, "keys.file_gone"))
        assert await outcome(nats_server, ANN) == "ok"
        shown = await asyncio.to_thread(golek, "list")
        assert [line.split() for line in shown.stdout.splitlines()[1:]] == [
            ["ann", "all", "60", "-", "-", "-", "-", "fleet"], ["bob", "all", "-", "-", "-", "-", "-", "fleet"],
        ]  # fmt: skip
        done = await asyncio.to_thread(golek, "revoke", "ann")
        assert "1 key of ann taken from the fleet alone" in done.stdout
        await within(8, lambda: _is(nats_server, ANN, "UNAUTHORIZED"))
        assert await outcome(nats_server, BOB) == "ok"
        for unknown in ("ann", "guest"):
            done = await asyncio.to_thread(golek, "revoke", unknown)
            assert (done.exit_code, f"nobody knows a key of {unknown}" in done.stderr) == (1, True)
