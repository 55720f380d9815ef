#!/usr/bin/env bash
# Are grammars stored, read, listed, used, changed and removed over HTTP? Leaves nothing behind; exit status 1 when a
# step does not do what it should.
# Usage: examples/test-grammar-crud.sh [URL]   (default http://localhost:5770, a worker; or the gateway's)
set -euo pipefail
. "$(dirname "$0")/http.sh"

url=${1:-http://localhost:5770}
name=crud-test-$$
trap 'send DELETE "/grammars/$name" >/dev/null 2>&1 || true' EXIT

# is WHAT SAID WANTED
is() {
    [ "$2" = "$3" ] || { echo "$1: $2, not $3" >&2 && exit 1; }
    echo "ok: $1"
}

body() { jq -n --arg name "$name" --arg content "$1" '{name: $name, description: "Yes or no", content: $content}'; }

is "create" "$(send POST /grammars "$(body 'root ::= "yes" | "no"')" | jq -r .name)" "$name"
is "read" "$(send GET "/grammars/$name" | jq -r .content)" 'root ::= "yes" | "no"'
is "list" "$(send GET /grammars | jq -r --arg name "$name" '.grammars[] | select(.name == $name) | .description')" "Yes or no"

answer=$(send POST /v1/completions "$(jq -n --arg name "$name" \
    '{input: "Is water wet?", params: {grammar: $name, temperature: 0.1, max_tokens: 16}}')" | jq -r .text)
case $answer in yes | no) echo "ok: used, the answer is $answer" ;; *) echo "used: the answer is $answer" >&2 && exit 1 ;; esac

is "change" "$(send PUT "/grammars/$name" "$(body 'root ::= "maybe"')" | jq -r .name)" "$name"
is "changed" "$(send GET "/grammars/$name" | jq -r .content)" 'root ::= "maybe"'
send POST /grammars "$(body 'root ::= (')" >/dev/null 2>&1 && echo "a wrong grammar was stored" >&2 && exit 1
is "a wrong one is refused, the stored one stays" "$(send GET "/grammars/$name" | jq -r .content)" 'root ::= "maybe"'
is "delete" "$(send DELETE "/grammars/$name" | jq -r .deleted)" "true"
send GET "/grammars/$name" >/dev/null 2>&1 && echo "it is still there" >&2 && exit 1
echo "ok: gone"
