#!/usr/bin/env bash
# Which models answer, and what can each do?
# Usage: examples/discover-models.sh [MODEL...]
set -euo pipefail
. "$(dirname "$0")/bus.sh"

[ $# -gt 0 ] || set -- gemma3-270m qwen3-4b gpt-oss-20b nomic-embed-v1.5 nomic-embed-v2-moe

online=0
for model in "$@"; do
    echo "Checking $model..."
    status=$(status_of "$model")
    echo "$status"
    if [ "$status" = online ]; then
        online=$((online + 1))
        echo '{}' | nats req "models.$model.health" --timeout=2s 2>/dev/null |
            jq -r '"  ask on \(.nats_topic): \(.capabilities | join(", "))"'
    fi
done
echo "$online of $# online"
[ "$online" -gt 0 ]
