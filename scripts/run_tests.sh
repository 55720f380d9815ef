#!/usr/bin/env bash
# Run all tests, in two processes side by side: most of them wait for something, and together they take half the time.
# Usage: scripts/run_tests.sh PYTHON      (what the first process says is shown when it has ended)
set -u
python=$1
said=$(mktemp)
"$python" -m pytest tests/bus tests/engine >"$said" 2>&1 &
beside=$!
trap 'kill "$beside" 2>/dev/null; wait "$beside"; rm -f "$said"; exit 130' INT TERM
"$python" -m pytest tests --ignore=tests/bus --ignore=tests/engine
first=$?
wait "$beside"
second=$?
cat "$said"
rm -f "$said"
exit $((first || second))
