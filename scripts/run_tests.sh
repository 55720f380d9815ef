#!/usr/bin/env bash
# Run tests in groups, each a process, side by side: most tests wait for something, and so they take a third of the time.
# Usage: scripts/run_tests.sh PYTHON all|vllm
# The last group is shown as it runs, the others when they have ended; the last lines say how each ended, and what failed.
set -u
# A thousand processes start: where no bytecode may be kept, each would compile all of Golek, 1.6 s of a core.
unset PYTHONDONTWRITEBYTECODE
python=$1
# Each a name and its files, which are words without a space; the last one has those of its folder that no other has.
case $2 in
all)
    groups=(
        "bus, a to m, r but re: tests/bus/test_[a-m]*.py tests/bus/test_r[!e]*.py"
        "bus, n to z but r: tests/bus/test_[n-qs-z]*.py"
        "gateway, engine, tui, bus re: tests/gateway tests/engine tests/tui tests/bus/test_re*.py"
        "all others: tests"
    )
    ;;
vllm)
    groups=(
        "life: tests/vllm/test_life.py"
        "server, vectors, one seat: tests/vllm/test_server.py tests/vllm/test_embedding.py tests/vllm/test_one_seat.py"
        "bus, images, probe: tests/vllm/test_bus.py tests/vllm/test_images.py tests/vllm/test_probe.py"
        "engine, all others: tests/vllm"
    )
    ;;
*) echo "which tests? all or vllm, not '$2'" >&2 && exit 2 ;;
esac
said=$(mktemp -d)
last=$((${#groups[@]} - 1))
started=()
# A group, and what else pytest is told. In the place of a subshell, so that it is ended with it.
run() {
    # shellcheck disable=SC2086
    exec "$python" -m pytest --force-short-summary ${groups[$1]#*: } "${@:2}"
}
# `2 failed, 310 passed in 512.10s`; nothing of a group that was ended by something else than its tests.
count() {
    grep -E '^=+ .* in [0-9.]+s.* =+$' "$said/$1" | tail -1 | sed -E 's/^=+ //; s/ =+$//'
}
trap 'kill "${started[@]}" 2>/dev/null; wait "${started[@]}"; rm -rf "$said"; exit 130' INT TERM
had=()
for ((number = 0; number < last; number++)); do
    run "$number" >"$said/$number" 2>&1 &
    started+=($!)
    for path in ${groups[$number]#*: }; do had+=("--ignore=$path"); done
done
run "$last" "${had[@]}" 2>&1 | tee "$said/$last"
failed=${PIPESTATUS[0]}
for number in "${!started[@]}"; do
    wait "${started[$number]}" || failed=1
    cat "$said/$number"
done
echo
for number in "${!groups[@]}"; do
    ended=$(count "$number")
    echo "${groups[$number]%%: *}: ${ended:-ended before its tests did; what it said stands above}"
done
if [ "$failed" = 0 ]; then
    echo "All tests passed."
else
    echo "What failed:"
    for number in "${!groups[@]}"; do
        [ -n "$(count "$number")" ] || echo "${groups[$number]%%: *}, as a whole"
        sed -n '/^=* short test summary info =*$/,$p' "$said/$number" | grep -E '^(FAILED|ERROR) ' | cut -c1-400
    done
fi
rm -rf "$said"
exit "$failed"
