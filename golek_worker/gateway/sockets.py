"""Socket.IO at /socket.io: prompts in, tokens out, in rooms where several listen.

    inference_prompt {prompt, model?, session_id?, room?, request_id?, max_tokens?, …}
    inference_token {token, request_id, …} …, then inference_complete {text, …} or inference_error {request_id, error}
    inference_step {request_id, name, model, state, …} where several models answer and `orchestration.progress` asks
    inference_cancel {request_id}      join {room}      leave {room}

The key comes at connect, as `auth: {"token": …}` or in the header Authorization; the gate is that of all doors. What is
sent to a room is heard by all its guests, whichever gateway they are at; rooms belong to the principal, and nobody
enters another one's. Who disconnects cancels what it asked. The library is loaded when the first client comes.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from msgspec import Struct, field
from starlette.types import ASGIApp, Receive, Scope, Send

from golek_program.web import cors, errors
from golek_wire.errors import (
    BadRequestError,
    ConflictError,
    InferenceServiceError,
    InternalError,
    JobCancelledError,
    RateLimitedError,
    TemporaryResourceError,
)
from golek_wire.orchestration import StepEvent
from golek_worker.gateway import asking, prompts
from golek_worker.gateway.callers import Callers
from golek_worker.gateway.door import Caller, Door, Visit, request_id_of
from golek_worker.gateway.metrics import Meters

if TYPE_CHECKING:
    from socketio import AsyncServer

    from golek_worker.gateway.rooms import Rooms

log = structlog.get_logger("gateway")

PATH: Final = "/socket.io"
PROMPTS_LIMIT: Final = 64
"""Prompts of one client that are answered at once."""
ROOMS_LIMIT: Final = 64
"""Rooms that one client is in at once."""
MESSAGE_LIMIT: Final = 2**20
"""Bytes of one message; what is larger goes to the other doors."""
STRANGER_S: Final = 10.0
"""A connection that has not said by then who it is, is closed when the next one comes."""
HANG_UP_S: Final = 1.0
_LABEL = re.compile(r"[!-~]{1,128}")


class Guest(Struct):
    """Somebody who is connected."""

    headers: Mapping[str, str]
    """With its key; looked at anew for each prompt, so that a revoked one ends."""
    peer: str
    asked: dict[str, asyncio.Task[None]] = field(default_factory=dict[str, "asyncio.Task[None]"])
    """What is being answered, by request id."""
    rooms: set[str] = field(default_factory=set[str])
    cancelled: set[str] = field(default_factory=set[str])
    """Of what it asked: what it cancelled itself."""


class Sockets:
    """The application with Socket.IO beside it."""

    def __init__(self, inner: ASGIApp, door: Door, callers: Callers, meters: Meters) -> None:
        self._inner = inner
        self._door = door
        self._callers = callers
        self._meters = meters
        self._guests: dict[str, Guest] = {}
        self._server: AsyncServer | None = None
        self._rooms: Rooms | None = None
        self._sockets: ASGIApp | None = None
        self._came: dict[str, float] = {}
        """When the connections came that may not have said who they are."""
        self._leaving = False
        door.closing.append(self.close)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or not scope["path"].startswith(PATH):
            await self._inner(scope, receive, send)
            return
        await self._let_strangers_go()
        await self._opened()(scope, receive, send)

    async def close(self, patience_s: float) -> None:
        """Take no more prompts, let those that are being answered end in their time, and hang up."""
        self._leaving = True
        asked = [task for guest in self._guests.values() for task in guest.asked.values()]
        if asked:
            await asyncio.wait(asked, timeout=patience_s)
        for sid in list(self._guests):
            await self._leave(sid)
        if self._server is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HANG_UP_S):
                    await asyncio.gather(*(self._server.eio.disconnect(eio) for eio in list(self._server.eio.sockets)))
            await self._server.shutdown()
        if self._rooms is not None:
            await self._rooms.close()

    def _opened(self) -> ASGIApp:
        """The library's application; made when it is first needed."""
        if self._sockets is None:
            from socketio import ASGIApp as Application
            from socketio import AsyncServer

            from golek_worker.gateway.rooms import Rooms

            origins = cors.origins(self._door.settings.http_cors_origins)
            self._rooms = Rooms(self._door.golek)
            self._server = AsyncServer(
                async_mode="asgi",
                client_manager=self._rooms,
                cors_allowed_origins="*" if cors.EVERYBODY in origins else origins or None,
                cors_credentials=False,
                max_http_buffer_size=MESSAGE_LIMIT,
                always_connect=False,
                logger=False,
                engineio_logger=False,
            )
            self._server.on("connect", self._connect)
            self._server.on("disconnect", self._disconnect)
            for name, handler in (
                ("inference_prompt", self._prompt),
                ("inference_cancel", self._cancel),
                ("join", self._join),
                ("leave", self._part),
            ):
                self._server.on(name, self._told(handler))
            self._sockets = Application(self._server, socketio_path=PATH)
        return self._sockets

    async def _let_strangers_go(self) -> None:
        """Close connections that took their time to say who they are."""
        if self._server is None:
            return
        now, known = time.monotonic(), {guest_eio for guest_eio in map(self._eio_of, self._guests) if guest_eio}
        open_now = set(self._server.eio.sockets)
        self._came = {eio: self._came.get(eio, now) for eio in open_now - known}
        for eio in [eio for eio, came in self._came.items() if now - came > STRANGER_S]:
            # Not by `disconnect`, which waits until somebody has read that it is over.
            connection = self._server.eio.sockets.pop(eio, None)
            if connection is not None:
                await connection.close(wait=False, abort=True)

    def _eio_of(self, sid: str) -> str | None:
        assert self._server is not None
        found: str | None = self._server.manager.eio_sid_from_sid(sid, "/")
        return found

    # -- coming and going --------------------------------------------------------------------------------------

    async def _connect(self, sid: str, environ: dict[str, Any], auth: object = None) -> None:
        from socketio.exceptions import ConnectionRefusedError as RefusedError

        scope: Scope = environ.get("asgi.scope", {})
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope.get("headers", ())}
        if isinstance(auth, Mapping) and isinstance(key := auth.get("token") or auth.get("key"), str) and key:
            headers["authorization"] = f"Bearer {key}"
        peer = scope.get("client")
        visit = Visit(request_id_of(headers), "CONNECT", PATH, peer[0] if peer else "", PATH)
        with self._visited(visit):
            try:
                visit.caller = await self._callers.find(headers)
            except InferenceServiceError as error:
                visit.status, visit.code = errors.status_of(error), errors.code_of(error)
                raise RefusedError(error.message, self._body(error)) from None
            visit.status = 200
            self._guests[sid] = Guest(headers, visit.peer)

    async def _disconnect(self, sid: str, reason: object = None) -> None:  # noqa: ARG002
        from engineio.packet import NOOP, Packet

        assert self._server is not None
        eio = self._eio_of(sid)
        if eio is not None:
            # Else a client that polls, whose last request waits for something to be said, would be kept for 45 s.
            await self._server.eio.send_packet(eio, Packet(NOOP))
        await self._leave(sid)

    async def _leave(self, sid: str) -> None:
        guest = self._guests.pop(sid, None)
        if guest is not None:
            for task in guest.asked.values():
                task.cancel()
            await asyncio.gather(*guest.asked.values(), return_exceptions=True)

    # -- what a guest may say ----------------------------------------------------------------------------------

    def _told(self, handler: Callable[[str, Guest, Any], Awaitable[dict[str, Any]]]) -> Callable[..., Awaitable[Any]]:
        """`handler`, whose answer or error is the acknowledgement; an error is an event as well."""

        async def answer(sid: str, data: Any = None, *_: Any) -> dict[str, Any]:
            guest = self._guests.get(sid)
            if guest is None:
                return {}
            try:
                return await handler(sid, guest, data)
            except InferenceServiceError as error:
                label = data.get("request_id", "") if isinstance(data, dict) else ""
                told = {"request_id": label if isinstance(label, str) else "", **self._body(error)}
                await self._emit("inference_error", told, sid, "")
                return told

        return answer

    async def _prompt(self, sid: str, guest: Guest, data: Any) -> dict[str, Any]:
        """Begin to answer. The acknowledgement says under which request id."""
        fields = {"prompt": data} if isinstance(data, str) else data
        if not isinstance(fields, dict):
            raise BadRequestError("inference_prompt: an object with a `prompt`, or the prompt as text", param="prompt")
        label = fields.get("request_id")
        if label is not None and not (isinstance(label, str) and _LABEL.fullmatch(label)):
            raise BadRequestError("request_id: 1 to 128 printable characters without blanks", param="request_id")
        request_id = label or request_id_of({})
        room = _room(fields) if fields.get("room") is not None else ""
        if self._leaving:
            raise TemporaryResourceError("this gateway is being stopped; another one may answer")
        visit = Visit(request_id, "PROMPT", PATH, guest.peer, "inference_prompt", streamed=True)
        if request_id in guest.asked:
            raise ConflictError(f"request_id: {request_id} is being answered already", param="request_id")
        if len(guest.asked) >= PROMPTS_LIMIT:
            raise RateLimitedError(f"{PROMPTS_LIMIT} prompts of this connection are being answered")
        if room:
            await self._enter(sid, guest, await self._callers.find(guest.headers), room)
        task = asyncio.create_task(self._answer(sid, guest, visit, fields, room))
        guest.asked[request_id] = task
        task.add_done_callback(lambda _: guest.asked.pop(request_id, None))
        return {"request_id": request_id}

    async def _cancel(self, sid: str, guest: Guest, data: Any) -> dict[str, Any]:  # noqa: ARG002
        """Stop answering. Who listens hears `inference_error`, CANCELLED."""
        request_id = data.get("request_id") if isinstance(data, dict) else data
        task = guest.asked.get(request_id) if isinstance(request_id, str) else None
        if task is not None and isinstance(request_id, str):
            guest.cancelled.add(request_id)
            task.cancel()
        return {"request_id": request_id, "cancelled": task is not None}

    async def _join(self, sid: str, guest: Guest, data: Any) -> dict[str, Any]:
        room = _room(data)
        await self._enter(sid, guest, await self._callers.find(guest.headers), room)
        return {"room": room}

    async def _part(self, sid: str, guest: Guest, data: Any) -> dict[str, Any]:
        room = _room(data)
        caller = await self._callers.find(guest.headers)
        guest.rooms.discard(room)
        assert self._server is not None
        await self._server.leave_room(sid, _name(caller, room))
        return {"room": room}

    async def _enter(self, sid: str, guest: Guest, caller: Caller, room: str) -> None:
        """Raises RateLimitedError."""
        if len(guest.rooms) >= ROOMS_LIMIT and room not in guest.rooms:
            raise RateLimitedError(f"room: this connection is in {ROOMS_LIMIT} already", param="room")
        guest.rooms.add(room)
        assert self._server is not None
        await self._server.enter_room(sid, _name(caller, room))

    # -- answering ---------------------------------------------------------------------------------------------

    async def _answer(self, sid: str, guest: Guest, visit: Visit, fields: dict[str, Any], room: str) -> None:
        """One prompt, to its end; whatever that is, is told."""
        with self._visited(visit):
            try:
                await self._stream(sid, guest, visit, fields, room)
                visit.status = 200
                return
            except InferenceServiceError as error:
                failed = error
            except asyncio.CancelledError:
                visit.status, visit.code = 499, "CANCELLED"
                if visit.request_id not in guest.cancelled:
                    raise
                guest.cancelled.discard(visit.request_id)
                failed = JobCancelledError("The request was cancelled", job_id=visit.job_id)
            except Exception:
                log.exception("socket.failed", request_id=visit.request_id)
                failed = InternalError("the prompt could not be answered; the gateway's log says how")
            visit.status = errors.status_of(failed)
            visit.fail(failed)
            told = {"request_id": visit.request_id, **self._body(failed)}
            await self._emit("inference_error", told, sid, _name(visit.caller, room) if visit.caller and room else "")

    async def _stream(self, sid: str, guest: Guest, visit: Visit, fields: dict[str, Any], room: str) -> None:
        asked, given = prompts.read(fields)
        visit.caller = caller = await self._callers.find(guest.headers)
        model = await asking.meant(self._door, caller, asked.model, "inference")
        visit.model = model
        seconds = asked.deadline_ms / 1000 if asked.deadline_ms else self._door.seconds
        payload = prompts.request(given, round(seconds * 1000))
        if asking.is_local(asked.model):
            payload = asking.local_only(payload)
        where = _name(caller, room) if room else ""

        async def say(step: StepEvent) -> None:
            told = prompts.step(step, asked, visit.request_id, visit.job_id)
            await self._emit("inference_step", told, sid, where)

        async with (
            _told_by(say) as steps,
            caller.golek.passed_stream(model, payload, deadline=seconds, on_step=steps.put_nowait) as stream,
        ):
            visit.job_id = stream.job_id
            async for piece in stream.pieces():
                visit.first_at = visit.first_at or time.perf_counter()
                await steps.join()
                if piece.text or piece.reasoning_content:
                    told = prompts.written(piece, asked, visit.request_id, visit.job_id)
                    await self._emit("inference_token", msgspec.to_builtins(told), sid, where)
            await steps.join()
        reply = stream.reply
        visit.worker, visit.allowances = stream.worker, stream.allowances
        asking.count(visit, reply)
        end = prompts.complete(reply, asked, model, visit.request_id, visit.job_id, visit.worker)
        await self._emit("inference_complete", msgspec.to_builtins(end), sid, where)

    async def _emit(self, event: str, data: dict[str, Any], sid: str, room: str) -> None:
        """To everybody in the room, at all gateways; or to the one guest."""
        assert self._server is not None
        if room:
            await self._server.emit(event, data, room=room)
        else:
            await self._server.emit(event, data, to=sid, ignore_queue=True)

    @contextlib.contextmanager
    def _visited(self, visit: Visit) -> Iterator[None]:
        """As the entrance does for requests over HTTP."""
        with self._meters.open(visit):
            try:
                yield
            finally:
                self._door.told(visit)

    def _body(self, error: InferenceServiceError) -> dict[str, Any]:
        """What is told of an error: its status and the object that every door tells."""
        told: dict[str, Any] = msgspec.json.decode(errors.event(error, strict=self._door.settings.golek_strict_openai))
        return {"status": errors.status_of(error), **told}


@contextlib.asynccontextmanager
async def _told_by(say: Callable[[StepEvent], Awaitable[None]]) -> AsyncIterator[asyncio.Queue[StepEvent]]:
    """Where to put steps that are to be told as they come; once it is joined, all are."""
    steps: asyncio.Queue[StepEvent] = asyncio.Queue()

    async def tell() -> None:
        while True:
            step = await steps.get()
            try:
                await say(step)
            except Exception:
                log.exception("socket.step_untold", step=step.name)
            finally:
                steps.task_done()

    telling = asyncio.create_task(tell())
    try:
        yield steps
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


def _room(data: Any) -> str:
    """The room that is meant. Raises BadRequestError."""
    room = data.get("room") if isinstance(data, dict) else data
    if not (isinstance(room, str) and 1 <= len(room) <= 128 and room.isprintable()):
        raise BadRequestError("room: 1 to 128 printable characters", param="room")
    return room


def _name(caller: Caller, room: str) -> str:
    """The room's name among those of all principals."""
    return f"{caller.principal}\n{room}"
