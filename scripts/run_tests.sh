#!/usr/bin/env bash
# Run all tests, in four processes side by side: most of them wait for something, and so they take a third of the time.
# Usage: scripts/run_tests.sh PYTHON      (what the others say is shown when they have ended)
set -u
python=$1
said=$(mktemp -d)
started=()
beside() {
    "$python" -m pytest "$@" >"$said/${#started[@]}" 2>&1 &
    started+=($!)
}
trap 'kill "${started[@]}" 2>/dev/null; wait "${started[@]}"; rm -rf "$said"; exit 130' INT TERM
beside tests/bus/test_[a-m]*.py tests/bus/test_ro*.py
beside tests/bus/test_[n-qs-z]*.py tests/bus/test_re*.py
beside tests/gateway tests/engine
"$python" -m pytest tests --ignore=tests/bus --ignore=tests/engine --ignore=tests/gateway
failed=$?
for number in "${!started[@]}"; do
    wait "${started[$number]}" || failed=1
    cat "$said/$number"
done
rm -rf "$said"
exit $failed
