#!/usr/bin/env bash
# Which models answer, and what can each do?
# Usage: examples/discover-models.sh [MODEL...]   (without a MODEL: all that answer now)
set -euo pipefail
. "$(dirname "$0")/bus.sh"

# shellcheck disable=SC2046 # one word per model
[ $# -gt 0 ] || set -- $(models_here)

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
[ "$online" -gt 0 ] || { nobody_here && exit 1; }
