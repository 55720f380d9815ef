#!/usr/bin/env bash
# How does an agent choose among models? Find those that are online, take the one with the least to do, route to it.
# Models that make vectors are left out. Without a MODEL it chooses among all that answer now.
# Usage: examples/agent-service.sh [QUESTION [MODEL...]]
set -euo pipefail
. "$(dirname "$0")/bus.sh"

question=${1:-"What is machine learning?"}
[ $# -eq 0 ] || shift
# shellcheck disable=SC2046 # one word per model
[ $# -gt 0 ] || set -- $(models_here)

echo "1. Who is there?"
online=()
for model in "$@"; do
    status=$(status_of "$model")
    if [ "$status" = online ] && ! writes_text "$model"; then
        echo "   $model: writes no text"
        continue
    fi
    echo "   $model: $status"
    [ "$status" != online ] || online+=("$model")
done
[ ${#online[@]} -gt 0 ] || { echo "none of them can answer; \`make start WORKER=golek-tiny\` starts one that can" >&2 && exit 1; }

echo "2. Who has the least to do? (idle workers report every ten seconds)"
reports=$(for model in "${online[@]}"; do
    nats sub "monitoring.inference.$(token_of "$model")" --count=1 --raw 2>/dev/null &
done; wait)
best=$(echo "$reports" | jq -rs 'map(select(.status != "critical")) | sort_by(.utilization)[0].model_name // empty')
echo "$reports" | jq -r '"   \(.model_name): \(.status), \(.pending_messages + .active_processing) jobs"'
[ -n "$best" ] || { echo "all of them are overloaded" >&2 && exit 1; }

echo "3. Routing to: $best"
request=$(jq -n --arg input "$question" \
    '{req_id: "agent-1", input: $input, params: {max_tokens: 200}, deadline_ms: 120000}')
ask "inference.request.$best" "$request" | jq -r '.text'
