"""What does an error that was written for the bus say to who asks over HTTP?

A model that no worker serves but a machine could start is said to be so, with what loads it; and who asked a model for
what it does not do learns the path instead of the subject.
"""

from collections.abc import Mapping
from typing import Final

from golek_client import discovery
from golek_wire import subjects
from golek_wire.errors import BadRequestError, InferenceServiceError, ModelNotFoundError, NoWorkersError
from golek_worker.gateway.offers import Offers

PATHS: Final[Mapping[str, str]] = {
    "inference": "POST /v1/chat/completions",
    "embedding": "POST /v1/embeddings",
    "rerank": "POST /v1/rerank",
    "vision": "POST /v1/vision/classify",
}


async def over_http(error: InferenceServiceError, offers: Offers | None) -> None:
    """Change `error` to what helps here; `offers` is what could be started, None at a worker."""
    if isinstance(error, ModelNotFoundError | NoWorkersError) and offers is not None and "command" not in error.details:
        await _tell_how_to_load(error, offers)
    elif isinstance(error, BadRequestError) and error.details.get("kinds"):
        paths = [PATHS[kind] for kind in error.details["kinds"] if kind in PATHS]
        what, on, _ = error.message.partition(discovery.ASK_IT)
        if on and paths:
            error.message = f"{what}{on}{' or '.join(paths)}"


async def _tell_how_to_load(error: ModelNotFoundError | NoWorkersError, offers: Offers) -> None:
    if error.details.get("missing"):
        await _tell_what_to_start(error, offers)
        return
    token = subjects.model_token(str(error.details.get("model", "")))
    there = next((one for one in await offers.all() if subjects.model_token(one.name) == token), None)
    if there is None:
        return
    command = f"make start WORKER={there.deployment}"
    loads = f"POST /v1/models/{there.name}/load, or `{command}` on its machine"
    if isinstance(error, ModelNotFoundError):
        error.message = f"{there.name} is known, but not loaded: {loads}"
        error.details.pop("did_you_mean", None)
    else:
        error.message = f"{error.message}; {loads}"
    error.details["command"] = command


async def _tell_what_to_start(error: ModelNotFoundError | NoWorkersError, offers: Offers) -> None:
    """Of several models that are missing, those that a machine has."""
    wanted = {subjects.model_token(name) for name in error.details["missing"]}
    there = [one for one in await offers.all() if subjects.model_token(one.name) in wanted]
    if there:
        error.details["command"] = " && ".join(f"make start WORKER={one.deployment}" for one in there)
        error.message = f"{error.message}; `{error.details['command']}` starts {', '.join(one.name for one in there)}"
