"""What does a server read of a sequence, and what does its answer come to?"""

import msgspec

from golek_wire.errors import AdapterNotFoundError, BadRequestError
from golek_wire.replies import InferenceReply, TokenLogprob
from golek_wire.requests import InferenceRequest, JsonSchema, Params, ResponseFormat, Resume
from golek_worker.engine.base import Finished, Piece, Submit
from golek_worker.providers import growing
from golek_worker.providers.quirks import Quirks

_WRITTEN = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def wished(command: Submit, quirks: Quirks) -> InferenceRequest:
    """The request that is put to the server: for one text, with this sequence's seed and what it must follow.

    A prompt that is given as a text is gone on with as it is. Raises BadRequestError.
    """
    if command.adapter:
        raise AdapterNotFoundError(
            f"adapter: {command.adapter!r} is not loaded; a server that is an engine loads none", param="adapter"
        )
    if command.resume is not None and command.constraint is not None:
        raise BadRequestError(
            "resume: the model's server begins a grammar, an expression, a choice or a form at its beginning; ask for "
            "the whole answer again",
            param="resume",
        )
    asked = command.asked or InferenceRequest(input=command.prompt, raw=True)
    params, form = _followed(command, asked.response_format, quirks)
    params = msgspec.structs.replace(params, n=1, best_of=None, seed=command.seed)
    if command.params.best_of is not None:
        params = msgspec.structs.replace(params, logprobs=True)  # which of them is best shows by these
    return msgspec.structs.replace(
        asked, params=params, response_format=form, seed=command.seed, resume=command.resume, session_id=None,
        extra=None, adapter=None,
    )  # fmt: skip


def finished(command: Submit, reply: InferenceReply, waited_ms: float) -> Finished:
    """The end that the server's whole answer makes. Tokens of a text that it went on with are those of the answer."""
    begun = _count(command.resume)
    return Finished(
        command.job_id,
        reply.text,
        reply.finish_reason,
        max(0, reply.tokens_in - begun),
        reply.tokens_out + begun,
        reply.reasoning_content,
        reply.tool_calls,
        trimmed(reply.logprobs, command.params),
        reply.tokens_cached,
        waited_ms,
        float(reply.ttft_ms),
        float(max(0, reply.ms - reply.ttft_ms)),
        sum(one.logprob for one in reply.logprobs or ()),
        reply.stopped_by,
    )


def shown(piece: Piece, params: Params) -> Piece:
    """`piece` with no more log-probabilities than were asked for: some servers tell more."""
    if isinstance(piece, str) or piece.logprobs is None:
        return piece
    return msgspec.structs.replace(piece, logprobs=trimmed(piece.logprobs, params))


def trimmed(logprobs: list[TokenLogprob] | None, params: Params) -> list[TokenLogprob] | None:
    """Those that were asked for."""
    if not (params.logprobs and logprobs):
        return None
    most = params.top_logprobs
    return [msgspec.structs.replace(one, top_logprobs=one.top_logprobs[:most]) for one in logprobs]


def _followed(command: Submit, form: ResponseFormat | None, quirks: Quirks) -> tuple[Params, ResponseFormat | None]:
    """Parameters and form that say what `command.constraint` does. Raises BadRequestError."""
    constraint = command.constraint
    params = msgspec.structs.replace(command.params, grammar=None, regex=None, choice=None)
    if constraint is None:
        return params, None
    match constraint.kind:
        case "gbnf":
            return msgspec.structs.replace(params, grammar=constraint.text), None
        case "regex":
            return msgspec.structs.replace(params, regex=constraint.text), None
        case "json_schema":
            return params, form or ResponseFormat("json_schema", JsonSchema(msgspec.json.decode(constraint.text)))
    choice, known = command.params.choice, quirks.fields | quirks.nested.keys()
    if choice is None:
        raise BadRequestError(f"{constraint.param}: the model's server reads no Lark", param=constraint.param)
    if "choice" not in known and "grammar" in known:
        return msgspec.structs.replace(params, grammar=_one_of(choice)), None
    return msgspec.structs.replace(params, choice=choice), None


def _one_of(texts: list[str]) -> str:
    """GBNF of one of `texts`."""
    return "root ::= " + " | ".join(f'"{text.translate(_WRITTEN)}"' for text in texts)


def _count(resume: Resume | None) -> int:
    """Tokens of the text that was gone on with, counted or near enough."""
    if resume is None:
        return 0
    return resume.tokens_out or -(-len(resume.text.encode()) // growing.BYTES_PER_TOKEN)
