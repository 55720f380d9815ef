"""/v1/vision: what do these images show, and which models can say it?"""

import base64
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_client import discovery
from golek_program.web.described import describe
from golek_wire import codec
from golek_wire.errors import BadRequestError
from golek_wire.openai import models as listed
from golek_wire.openai import routed
from golek_wire.openai.chat import DeadlineMs, Model
from golek_wire.openai.routed import Routed
from golek_wire.requests import IMAGES_LIMIT, LABELS_LIMIT, ImageSource, Label, Priority, VisionRequest
from golek_wire.routing import RouteWish
from golek_wire.sniffing import sniff
from golek_wire.vision import Classification, LabelScore, VisionReply, VisionUsage
from golek_worker.gateway import asking, body, door
from golek_worker.gateway.models import Done, Wanted, order, read_order

Labels = Annotated[list[Label], Meta(min_length=1, max_length=LABELS_LIMIT)]
PIXEL: Final = "data:image/bmp;base64,Qk06AAAAAAAAADYAAAAoAAAAAQAAAAEAAAABABgAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAD/AA=="
"""One red pixel, to try a model with."""


Body = TypeVar("Body", bound="_Wishes")


class _Wishes(Struct, frozen=True, kw_only=True, omit_defaults=True):
    labels: Labels | None = None
    """What may be said of an image. Without it a classifier scores all labels that it has, and a language model says
    in its own words what it sees."""
    model: Model | None = None
    """Need not be given where the fleet has one model that sees."""
    prompt: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    """What a language model is asked of each image, instead of the usual question."""
    top_k: Annotated[int, Meta(ge=1)] | None = None
    """Only so many scores of each image, the best ones."""
    deadline_ms: DeadlineMs | None = None
    priority: Priority | None = None
    metadata: dict[str, Any] | None = None
    route: RouteWish | None = None


class ClassifyRequest(_Wishes, frozen=True, kw_only=True, omit_defaults=True):
    """The body of POST /v1/vision/classify; or the image itself as the body, with these in the query."""

    image: ImageSource
    """`data:image/png;base64,…`, base64 alone, `https://…` of a server that the deployment allows,
    `nats-object://<bucket>/<name>`, or a part as in a chat."""


class ClassifyBatch(_Wishes, frozen=True, kw_only=True, omit_defaults=True):
    """The body of POST /v1/vision/classify/batch."""

    images: Annotated[list[ImageSource], Meta(min_length=1, max_length=IMAGES_LIMIT)]


class Classified(Routed, frozen=True):
    """What one image shows."""

    id: str
    model: str
    label: str
    score: float
    """From 0 to 1; docs/vision.md says of what."""
    scores: list[LabelScore]
    """The best one first."""
    usage: VisionUsage


class ClassifiedBatch(Routed, frozen=True):
    """What each of several images shows, in their order."""

    id: str
    model: str
    results: list[Classification]
    usage: VisionUsage


class Seeing(Struct, frozen=True):
    """A model that says what images show."""

    id: str
    status: listed.Loaded
    """As in the list of models."""
    kinds: list[str]


class VisionHealth(Struct, frozen=True):
    """Whether images can be classified now."""

    status: Literal["ok", "unavailable"]
    models: list[Seeing]


class _Query(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model: str | None = None
    labels: str | None = None
    """With commas; one that has a comma itself goes into a JSON body."""
    prompt: str | None = None
    top_k: Annotated[int, Meta(ge=1)] | None = None


@describe(
    group="Vision",
    summary="Whether images can be classified, and by which models.",
    reply=VisionHealth,
    others={503: VisionHealth},
)
async def health(request: Request) -> Response:
    """The models that see; 503 where none of them can be asked now."""
    caller, now, served = door.caller(request), datetime.now(UTC), door.door(request).served
    found = [
        Seeing(record.name, listed.shown(record, gone=discovery.gone(record, now) is not None).status, record.kinds)
        for record in await caller.golek.models()
        if "vision" in record.kinds
        and (not caller.models or record.name in caller.models)
        and served in ("", record.name)
    ]
    is_well = any(one.status in ("loaded", "available") for one in found)
    response = asking.json(VisionHealth("ok" if is_well else "unavailable", found))
    response.status_code = 200 if is_well else 503
    return response


@describe(
    group="Vision",
    summary="What an image shows.",
    request=ClassifyRequest,
    reply=Classified,
    asks=True,
    example={"image": PIXEL, "labels": ["red", "blue"]},
)
async def classify(request: Request) -> Response:
    """Answer with labels and scores of one image."""
    payload = await body.read(request)
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media.startswith("multipart/"):
        raise BadRequestError(
            "content-type: forms are not read here; send JSON with the image in base64, or the image itself with "
            "content-type: image/png (`curl --data-binary @cat.png -H 'content-type: image/png'`)",
            param="content-type",
        )
    if not media.startswith("image/") and (picture := sniff(payload)) is not None:
        raise BadRequestError(
            f"content-type: {media or 'none'} is declared, and the body is an image; send it with content-type: "
            f"{picture.type} (`curl -H 'content-type: {picture.type}'`)",
            param="content-type",
        )
    asked = _of_bytes(request, media, payload) if media.startswith("image/") else _decoded(payload, ClassifyRequest)
    call, reply = await _asked(request, asked, VisionRequest(image=asked.image))
    one = reply.results[0]
    return asking.json(
        Classified(
            f"vision-{call.visit.job_id}",
            asked.model or call.model,
            one.label,
            one.score,
            one.scores,
            reply.usage,
            **routed.about([reply]),
        )
    )


@describe(
    group="Vision",
    summary="What each of several images shows.",
    request=ClassifyBatch,
    reply=ClassifiedBatch,
    asks=True,
    example={"images": [PIXEL, PIXEL], "labels": ["red", "blue"]},
)
async def batch(request: Request) -> Response:
    """Answer with labels and scores of each image; one that is none refuses all, with its place."""
    asked = _decoded(await body.read(request), ClassifyBatch)
    call, reply = await _asked(request, asked, VisionRequest(images=asked.images))
    return asking.json(
        ClassifiedBatch(
            f"vision-{call.visit.job_id}",
            asked.model or call.model,
            reply.results,
            reply.usage,
            **routed.about([reply]),
        )
    )


@describe(
    group="Vision", summary="Brings a model that sees into memory.",
    request=Wanted, body_needed=False, reply=Done, asks=True, example={},
)  # fmt: skip
async def load(request: Request) -> Response:
    """As POST /v1/models/load; a model need not be named where there is one that sees."""
    return await _order(request, "load")


@describe(
    group="Vision", summary="Takes a model that sees out of memory once its jobs have ended.",
    request=Wanted, body_needed=False, reply=Done, asks=True, example={},
)  # fmt: skip
async def unload(request: Request) -> Response:
    """As POST /v1/models/unload; a model need not be named where there is one that sees."""
    return await _order(request, "unload")


async def _order(request: Request, verb: Literal["load", "unload"]) -> Response:
    """Raises as `order`, and BadRequestError for a model that does not see."""
    wanted = await read_order(request)
    named = listed.plain(wanted.model) if wanted.model else door.door(request).served
    if not named:
        return await order(request, verb, wanted, await asking.only_one(door.caller(request), "vision"))
    known = {record.name: record for record in await door.caller(request).golek.models()}
    if named in known and known[named].kinds and "vision" not in known[named].kinds:
        raise discovery.another_kind(known[named], "vision")
    return await order(request, verb, wanted, named)


async def _asked(request: Request, asked: _Wishes, images: VisionRequest) -> tuple[asking.Call, VisionReply]:
    """The answer of the model that is meant."""
    call = await asking.call(request, asked.model, "vision", asked.deadline_ms)
    wished = msgspec.structs.replace(
        images, labels=asked.labels, prompt=asked.prompt, top_k=asked.top_k, deadline_ms=call.deadline_ms,
        priority=asked.priority, metadata=asked.metadata, route=asked.route,
    )  # fmt: skip
    payload = codec.encode(wished)
    codec.decode_vision(payload)  # what of it is no image is told before anybody is asked
    return call, await call.only(payload, "vision", VisionReply)


def _of_bytes(request: Request, media: str, payload: bytes) -> ClassifyRequest:
    """A request whose body is the image, and whose query says the rest. Raises BadRequestError."""
    try:
        query = msgspec.convert(dict(request.query_params), _Query, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequestError(f"{error} (in the query)", param="query") from None
    said = ClassifyRequest(
        image=f"data:{media};base64,{base64.b64encode(payload).decode()}",
        labels=[label.strip() for label in query.labels.split(",")] if query.labels else None,
        model=query.model, prompt=query.prompt, top_k=query.top_k,
    )  # fmt: skip
    return _decoded(codec.encode(said), ClassifyRequest)


def _decoded(payload: bytes, kind: type[Body]) -> Body:
    example = '{"image": "data:image/png;base64,…", "labels": ["cat", "dog"]}'
    return codec.decode_by(payload, msgspec.json.Decoder(kind), example)


ROUTES = [
    Route("/v1/vision/health", health),
    Route("/v1/vision/classify", classify, methods=["POST"]),
    Route("/v1/vision/classify/batch", batch, methods=["POST"]),
    Route("/v1/vision/load", load, methods=["POST"]),
    Route("/v1/vision/unload", unload, methods=["POST"]),
]
