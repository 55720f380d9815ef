"""What are spans and their attributes called?

The names of OpenTelemetry's semantic conventions, in one place because those of `gen_ai.*` and `messaging.*` are in
status Development: they may change. Sources: github.com/open-telemetry/semantic-conventions-genai (docs/gen-ai, as of
November 2026) for `gen_ai.*`; opentelemetry.io/docs/specs/semconv 1.44 for the rest. Prompts and answers have names
there, too; Golek never sends them.
"""

from typing import Final

# -- https://opentelemetry.io/docs/specs/semconv/http/http-spans/ (stable)
HTTP_METHOD: Final = "http.request.method"
HTTP_ROUTE: Final = "http.route"
HTTP_STATUS: Final = "http.response.status_code"
URL_PATH: Final = "url.path"
URL_SCHEME: Final = "url.scheme"
CLIENT_ADDRESS: Final = "client.address"
ERROR_TYPE: Final = "error.type"
"""The error's code, as callers read it."""

# -- gen_ai.* (Development)
OPERATION: Final = "gen_ai.operation.name"
CHAT: Final = "chat"
TEXT_COMPLETION: Final = "text_completion"
EMBEDDINGS: Final = "embeddings"
RERANK: Final = "rerank"
VISION: Final = "vision"
"""These two are not among the names of the convention, which allows others."""
PROVIDER: Final = "gen_ai.provider.name"
GOLEK: Final = "golek"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
REQUEST_TOP_P: Final = "gen_ai.request.top_p"
REQUEST_CHOICES: Final = "gen_ai.request.choice.count"
REQUEST_STREAM: Final = "gen_ai.request.stream"
RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
FIRST_CHUNK_S: Final = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"

# -- https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/ (Development)
MESSAGING_SYSTEM: Final = "messaging.system"
NATS: Final = "nats"
MESSAGING_OPERATION: Final = "messaging.operation.name"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
MESSAGING_DESTINATION: Final = "messaging.destination.name"
MESSAGING_MESSAGE: Final = "messaging.message.id"

# -- Golek's own
JOB_ID: Final = "golek.job_id"
REQ_ID: Final = "golek.req_id"
WORKER_ID: Final = "golek.worker_id"
KEY_ID: Final = "golek.key_id"
"""Who asks: the id of its key, never the key."""
STEP: Final = "golek.step"
"""Of a step of several models: what it is for, as `<name>/<round>`."""
ATTEMPT: Final = "golek.attempt"
"""From 1."""
SEQUENCE: Final = "golek.stream_sequence"
"""The job's place in its model's stream."""

# Names of spans that no convention names
QUEUE: Final = "queue"
"""From the stream's acknowledgement to the lease."""
SLOT: Final = "wait for a slot"
PREFILL: Final = "prefill"
DECODE: Final = "decode"
STORE_RESULT: Final = "store result"
REPLY: Final = "reply"

# Names of events
FIRST_TOKEN: Final = "first token"  # noqa: S105 - of a text
TEXT: Final = "text"
"""One of several texts of a request; `index`, `finish_reason`, `tokens_out`."""
