#!/usr/bin/env bash
# Run all tests, in four processes side by side: most of them wait for something, and so they take a third of the time.
# Usage: scripts/run_tests.sh PYTHON
# The last group is shown as it runs, the others when they have ended; the last lines say how each ended, and what failed.
set -u
# A thousand processes start: where no bytecode may be kept, each would compile all of Golek, 1.6 s of a core.
unset PYTHONDONTWRITEBYTECODE
python=$1
said=$(mktemp -d)
groups=("bus, a to m and ro" "bus, n to z" "gateway, engine, tui, bus re" "all others")
started=()
run() {
    "$python" -m pytest --force-short-summary "$@"
}
beside() {
    run "$@" >"$said/${#started[@]}" 2>&1 &
    started+=($!)
}
# `2 failed, 310 passed in 512.10s`; nothing of a group that was ended by something else than its tests.
count() {
    grep -E '^=+ .* in [0-9.]+s.* =+$' "$said/$1" | tail -1 | sed -E 's/^=+ //; s/ =+$//'
}
trap 'kill "${started[@]}" 2>/dev/null; wait "${started[@]}"; rm -rf "$said"; exit 130' INT TERM
beside tests/bus/test_[a-m]*.py tests/bus/test_ro*.py
beside tests/bus/test_[n-qs-z]*.py
beside tests/gateway tests/engine tests/tui tests/bus/test_re*.py
run tests --ignore=tests/{bus,engine,gateway,tui} 2>&1 | tee "$said/${#started[@]}"
failed=${PIPESTATUS[0]}
for number in "${!started[@]}"; do
    wait "${started[$number]}" || failed=1
    cat "$said/$number"
done
echo
for number in "${!groups[@]}"; do
    ended=$(count "$number")
    echo "${groups[$number]}: ${ended:-ended before its tests did; what it said stands above}"
done
if [ "$failed" = 0 ]; then
    echo "All tests passed."
else
    echo "What failed:"
    for number in "${!groups[@]}"; do
        [ -n "$(count "$number")" ] || echo "${groups[$number]}, as a whole"
        sed -n '/^=* short test summary info =*$/,$p' "$said/$number" | grep -E '^(FAILED|ERROR) ' | cut -c1-400
    done
fi
rm -rf "$said"
exit "$failed"
