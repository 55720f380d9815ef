# What the examples share: a `nats` to speak with, which is golek where the NATS command line is not installed, and jq.
# Sourced, not run. NATS_URL names the broker, as for both programs.

if ! type -P nats >/dev/null; then
    _golek=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.venv/bin/golek
    [ -x "$_golek" ] || { echo "neither nats nor $_golek is here; make build installs the second" >&2 && exit 1; }
    nats() { "$_golek" "$@"; }
fi
type -P jq >/dev/null || { echo "these examples read JSON with jq, which is not installed" >&2 && exit 1; }

# The status of a model, `offline` when nobody answers. Usage: status_of MODEL
status_of() {
    local status
    status=$(echo '{}' | nats req "models.$1.health" --timeout=2s 2>/dev/null | jq -r '.status') || true
    echo "${status:-offline}"
}

# The names of the models whose workers answer now, one a line; none is status 0, too. Usage: models_here
# Every worker answers on $SRV.INFO.golek; --replies=0 takes all answers that come within the second.
models_here() {
    { echo '{}' | nats req '$SRV.INFO.golek' --raw --replies=0 --timeout=1s 2>/dev/null || true; } |
        jq -r '.metadata.model // empty' | sort -u
}

# What to do when no model answers. Usage: nobody_here
nobody_here() { echo 'no model is online on this bus; `make start WORKER=golek-tiny` starts one' >&2; }

# Whether a model writes text. Usage: writes_text MODEL
writes_text() {
    echo '{}' | nats req "models.$1.health" --raw --timeout=2s 2>/dev/null |
        jq -e '.capabilities | index("text-generation") != null' >/dev/null
}

# The name under which reports of a model are published: a dot would split the subject. Usage: token_of MODEL
token_of() { printf '%s' "$1" | tr -c 'A-Za-z0-9_-' '_'; }

# Ask and print the reply's JSON; a refusal is told and gives status 1. Usage: ask SUBJECT JSON
ask() {
    local reply
    reply=$(echo "$2" | nats req "$1" --raw --timeout=120s 2>/dev/null) || true
    if [ -z "$reply" ]; then
        echo "nobody answers on $1" >&2
        return 1
    fi
    if [ "$(echo "$reply" | jq 'has("error")')" = true ]; then
        echo "$reply" | jq -r '"\(.error.code): \(.error.message)"' >&2
        return 1
    fi
    echo "$reply"
}
