#!/usr/bin/env bash
# Does everything that is asked for text over HTTP answer? A line per endpoint; exit status 1 when one does not.
# Usage: examples/test-inference-endpoints.sh [URL [MODEL]]   (default http://localhost:5770, a worker and its model)
set -euo pipefail
. "$(dirname "$0")/http.sh"

url=${1:-http://localhost:5770}
model=${2:-}
said=$(jq -n --arg model "$model" '{messages: [{role: "user", content: "Name a colour."}], max_tokens: 16}
    + (if $model == "" then {} else {model: $model} end)')
prompt=$(jq '{prompt: .messages[0].content, max_tokens} + (.model | if . then {model: .} else {} end)' <<<"$said")
native=$(jq '{input: .prompt, params: {max_tokens}} + (.model | if . then {model: .} else {} end)' <<<"$prompt")

# shows WHAT FILTER: the part of a reply that FILTER finds, on one line; nothing there is a failure.
shows() {
    local found
    found=$(jq -er "$2") && [ -n "$found" ] || { echo "$1: no $2 in the reply" >&2 && exit 1; }
    echo "ok: $1: $(tr '\n' ' ' <<<"$found" | cut -c1-60)"
}

send GET /healthz | shows "/healthz" .status
send GET /health/ready | shows "/health/ready" .status
send GET /v1/models | shows "/v1/models" '[.data[].id] | join(", ")'
send GET /v1/status | shows "/v1/status" '"\(.slots) slots"'
send POST /v1/completions "$native" | shows "/v1/completions, input and params" '"\(.tokens_out) tokens in \(.ms) ms"'
send POST /v1/completions "$prompt" | shows "/v1/completions, prompt" '.choices[0].finish_reason'
send POST /v1/chat/completions "$said" | shows "/v1/chat/completions" '.choices[0].finish_reason'
send POST /v1/chat/completions "$(jq '. + {stream: true}' <<<"$said")" | sed -n 's/^data: {/{/p' | tail -1 |
    shows "/v1/chat/completions, streamed" '.choices[0].finish_reason'
send POST /v1/inference_sse "$prompt" |
    sed -n 's/^data: {/{/p' | tail -1 | shows "/v1/inference_sse" .finish_reason
send GET /grammars | shows "/grammars" '"\(.grammars | length) grammars"'
send GET /metrics | grep -c '^golek_' | sed 's/^/ok: \/metrics: /; s/$/ figures/'
