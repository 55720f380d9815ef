#!/usr/bin/env bash
# How does a service that thinks with a model use one? Look whether it is there, look how busy it is, then ask with a
# prompt of its own making (raw: no template comes between).
# The prompt must be in the format that the model was trained with: in another one it writes nonsense. Those of
# gpt-oss (OpenAI's harmony) and golek-tiny are here; for another MODEL give a PROMPT.
# Usage: examples/reasoning-service.sh [MODEL] [PROMPT]
set -euo pipefail
. "$(dirname "$0")/bus.sh"

model=${1:-gpt-oss-20b}
case "$model" in
gpt-oss*) usual='<|start|>system<|message|>You are an expert in distributed systems.<|end|><|start|>user<|message|>Why do queues need limits?<|end|><|start|>assistant' ;;
golek-tiny) usual='<|user|>What is backpressure?<|end|><|assistant|>' ;;
*) usual= ;;
esac
prompt=${2:-$usual}
[ -n "$prompt" ] || { echo "the format of $model is not known here: give a PROMPT in it, after the model" >&2 && exit 1; }

echo "1. Is $model there?"
status=$(status_of "$model")
echo "   $status"
[ "$status" = online ] || {
    echo "$model does not answer: \`make start WORKER=$model\` starts it; examples/discover-models.sh lists those that do" >&2
    exit 1
}

echo "2. How busy is it? (an idle worker reports every ten seconds)"
nats sub "monitoring.inference.$(token_of "$model")" --count=1 --raw 2>/dev/null |
    jq -r '"   \(.status): \(.pending_messages) waiting, \(.active_processing) of \(.worker_count) slots in use"'

echo "3. Ask"
request=$(jq -n --arg input "$prompt" \
    '{req_id: "reasoning-456", input: $input, params: {max_tokens: 500}, raw: true, deadline_ms: 120000}')
ask "inference.request.$model" "$request" |
    jq -r '.text, "", "   \(.tokens_in) tokens in, \(.tokens_out) out, \(.finish_reason), \(.duration_ms) ms"'
