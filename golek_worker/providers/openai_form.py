"""How is a request of the bus said as a chat completion, a completion, or as embeddings, of OpenAI's API?

What the caller did not say is not said: the model's own defaults hold. A wish that the server does not know is left out
where the answer stays what was asked for, and refused where it would be another one.
"""

from typing import Any, Final

import msgspec

from golek_wire.errors import BadRequestError
from golek_wire.requests import EmbeddingRequest, InferenceRequest, Message, Params
from golek_worker.providers import growing
from golek_worker.providers.base import Call
from golek_worker.providers.quirks import Quirks

Json = dict[str, Any]
DRAWN: Final = (
    "temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "stop", "n", "logprobs", "top_logprobs",
    "logit_bias",
)  # fmt: skip
"""Fields of `Params` that OpenAI's API has."""
USUAL: Final = ("temperature", "top_p", "top_k", "min_p")
"""Those that are on in each request; servers have defaults of their own for them."""
FOLLOWED: Final = ("grammar", "regex", "choice")
"""Those that the answer must follow: a server that cannot is not asked."""
OURS: Final = frozenset(
    ("model", "messages", "stream", "stream_options", "n", "best_of", "max_tokens", "max_completion_tokens")
)
"""Fields that nobody says to a provider past us: how many answers there are, of which length, is paid for."""
_DEFAULTS: Final = Params()


def chat(call: Call, request: InferenceRequest, quirks: Quirks, *, stream: bool = True) -> Json:
    """The body of POST /chat/completions. Raises BadRequestError naming what the server cannot do."""
    check(request, quirks)
    body: Json = dict(_extra(request, quirks))
    body |= {"model": call.model, "messages": messages(request, quirks), "stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    body |= _drawn(request, quirks)
    if request.tools:
        body["tools"] = request.tools
        body["tool_choice"] = request.tool_choice
        body["parallel_tool_calls"] = request.parallel_tool_calls
    if request.response_format is not None and request.response_format.type != "text":
        body["response_format"] = _form(request)
    body["reasoning_effort"] = request.reasoning_effort
    if request.resume is not None:
        body |= quirks.continues
    if quirks.speaks_golek:
        body |= {"adapter": request.adapter, "deadline_ms": max(1, round(call.seconds * 1000))}
    return {name: value for name, value in body.items() if value is not None and name not in quirks.lacks}


def completion(call: Call, request: InferenceRequest, quirks: Quirks) -> Json:
    """The body of POST /completions, for a text that is gone on with as it is. Raises BadRequestError as `chat` does.

    Most tokens are said even where the caller said nothing: without a word some servers write 16.
    """
    check(request, quirks)
    begun = request.resume.text if request.resume is not None else ""
    body: Json = {"model": call.model, "prompt": (request.input or "") + begun, "stream": True}
    body |= {"stream_options": {"include_usage": True}} | _drawn(request, quirks)
    if body.pop("logprobs", False):
        body["logprobs"] = body.pop("top_logprobs", 1)  # some take 0 for none at all
    if request.response_format is not None and request.response_format.type != "text":
        body |= _completed_form(request, quirks)
    said = {name: value for name, value in body.items() if value is not None and name not in quirks.lacks}
    return said | {"max_tokens": growing.room(request.params, request.resume)}


def embeddings(call: Call, request: EmbeddingRequest) -> Json:
    """The body of POST /embeddings: vectors are asked as numbers, which all servers give."""
    body: Json = {"model": call.model, "input": request.input, "encoding_format": "float"}
    return body if request.dimensions is None else body | {"dimensions": request.dimensions}


def check(request: InferenceRequest, quirks: Quirks) -> None:
    """Raises BadRequestError for what the server cannot do, and would answer as if it had not been asked."""
    params = request.params
    for name in FOLLOWED:
        if getattr(params, name) is not None and name not in quirks.fields | quirks.nested.keys():
            raise _refused(f"params.{name}", "the model's server cannot make an answer follow it")
    if request.raw and not quirks.completes:
        raise _refused("raw", "the model's server takes conversations alone")
    if request.adapter and not quirks.speaks_golek:
        raise _refused("adapter", "the model's server has no adapters of this fleet")
    if (params.best_of or 1) > params.n and "best_of" not in quirks.fields:
        raise _refused("params.best_of", "the model's server does not choose among texts; ask for `n` alone")
    if params.max_tokens == 0:
        raise _refused("params.max_tokens", "the model's server does not count a prompt alone; ask for 1 at least")


def messages(request: InferenceRequest, quirks: Quirks) -> list[Json]:
    """The conversation, with the text so far behind it where there is one."""
    turns = request.messages if request.messages is not None else [Message("user", request.input)]
    names: dict[str, str] = {}
    said = [_message(turn, quirks, names) for turn in turns]
    if request.resume is not None and (begun := growing.sent(request.resume.text)):
        said.append({"role": "assistant", "content": begun})
    return said


def _message(turn: Message, quirks: Quirks, names: dict[str, str]) -> Json:
    """`names` are those of the functions that were called, by the ids of the calls."""
    role = "system" if turn.role == "developer" and not quirks.knows_developer else turn.role
    said: Json = {"role": role, "content": turn.content if turn.parts is None else turn.parts}
    if turn.tool_calls:
        said["tool_calls"] = turn.tool_calls
        names |= {str(call.get("id")): str((call.get("function") or {}).get("name")) for call in turn.tool_calls}
    if turn.tool_call_id is not None:
        said["tool_call_id"] = turn.tool_call_id
    name = names.get(turn.tool_call_id or "") if quirks.names_results and turn.role == "tool" else turn.name
    if name:
        said["name"] = name
    if turn.reasoning_content is not None and quirks.reads_thoughts:
        said["reasoning_content"] = turn.reasoning_content
    return said


def _drawn(request: InferenceRequest, quirks: Quirks) -> Json:
    """How the text is drawn: what differs from the bus's own defaults, for nobody asked for those of a cloud."""
    params = request.params
    body = {name: value for name in DRAWN if (value := getattr(params, name)) != getattr(_DEFAULTS, name)}
    body |= own(request, quirks)
    if quirks.draws_as_we_do:
        body |= {name: getattr(params, name) for name in USUAL if name in quirks.fields.union(DRAWN)}
    if request.seed is not None:
        body["seed"] = request.seed
    if quirks.hides_stop and body.pop("stop", None):
        body["timings_per_token"] = True
    body[quirks.takes_most_as] = growing.room(params, request.resume)
    return body


def own(request: InferenceRequest, quirks: Quirks) -> Json:
    """Fields of ours that the server reads, under its names."""
    names = {name: name for name in sorted(quirks.fields)} | quirks.renamed
    params = request.params
    said = {
        there: value for name, there in names.items() if (value := getattr(params, name)) != getattr(_DEFAULTS, name)
    }
    for name, there in quirks.nested.items():
        if (value := getattr(params, name)) != getattr(_DEFAULTS, name):
            said.setdefault(there, {})[name] = value
    return said


def _completed_form(request: InferenceRequest, quirks: Quirks) -> Json:
    """The form of a text that is gone on with."""
    form = _form(request)
    if not quirks.schema_as:
        return {"response_format": form}
    return {quirks.schema_as: form["json_schema"]["schema"] if "json_schema" in form else {"type": "object"}}


def _form(request: InferenceRequest) -> Json:
    form: Json = msgspec.to_builtins(request.response_format)
    schema = form.get("json_schema")
    if schema is not None and not schema.get("name"):
        schema["name"] = "answer"  # OpenAI wants one
    return form


def _extra(request: InferenceRequest, quirks: Quirks) -> Json:
    """What the caller says to the provider itself."""
    return {name: value for name, value in (request.extra or {}).items() if name not in OURS | quirks.lacks}


def _refused(param: str, why: str) -> BadRequestError:
    return BadRequestError(f"{param}: {why}", param=param)
