#!/usr/bin/env bash
# Do two requests side by side take less time than one after the other? A worker with WORKER_CONCURRENCY of 2 or more
# decodes both together, and two models never wait for each other. Exit status 1 when nothing is gained.
# Usage: examples/test-parallel.sh [MODEL [SECOND_MODEL]]   (MAX_TOKENS=64 sets the length of each answer)
set -euo pipefail
. "$(dirname "$0")/bus.sh"

first=${1:-gemma3-270m}
second=${2:-$first}
tokens=${MAX_TOKENS:-64}

# ignore_eos: every answer has the same length, so that times can be compared.
one() {
    local reply
    reply=$(ask "inference.request.$1" "{\"req_id\": \"parallel\", \"input\": \"Count to a hundred\",
        \"params\": {\"max_tokens\": $tokens, \"ignore_eos\": true, \"temperature\": 0}}")
    [ "$(echo "$reply" | jq -r '.tokens_out')" = "$tokens" ] || { echo "not $tokens tokens: $reply" >&2 && return 1; }
}
seconds() { jq -n 'now'; }

one "$first" # the first request after a start may be slower
one "$second"

# Another program may have taken the cores for a moment: one gain in three tries is a gain.
for _ in 1 2 3; do
    began=$(seconds)
    one "$first"
    one "$second"
    middle=$(seconds)
    one "$first" &
    beside=$!
    one "$second"
    wait "$beside"
    ended=$(seconds)
    jq -ne "$ended - $middle < $middle - $began" >/dev/null && break
done

jq -nr --argjson began "$began" --argjson middle "$middle" --argjson ended "$ended" --arg tokens "$tokens" '
    def shown: . * 100 | round / 100;
    "two requests of \($tokens) tokens, one after the other: \($middle - $began | shown) s",
    "side by side: \($ended - $middle | shown) s",
    "speed-up: \(($middle - $began) / ($ended - $middle) | shown)",
    if $ended - $middle < $middle - $began then empty else "nothing is gained" | halt_error(1) end'
