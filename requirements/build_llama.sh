#!/usr/bin/env bash
# Build llama.cpp anew, for the GPU that is here or for the CPU alone: llama-cpp-python in the version and with the hash
# of requirements/worker.txt, into .venv. A later `make build` finds it installed and leaves it as it is.
# Usage: requirements/build_llama.sh auto|cuda|metal|cpu PYTHON   (DRY_RUN=1 prints the command and builds nothing)
set -euo pipefail
cd "$(dirname "$0")/.."
backend=$1 python=$2
dry_run=${DRY_RUN:-0}

say() { printf 'build-llama: %s\n' "$@"; }
# What is missing ends a build; a dry run only mentions it.
missing() {
    say "$@" >&2
    [ "$dry_run" != 0 ] || exit 1
}

toolkit=${CUDA_HOME:-/usr/local/cuda}/bin/nvcc
has_nvcc() { command -v nvcc >/dev/null || [ -x "$toolkit" ]; }
# It is installed with the driver, without which a build for CUDA cannot even be loaded.
has_gpu() { command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; }
is_mac() { [ "$(uname -s)" = Darwin ]; }

if [ "$backend" = auto ]; then
    if has_nvcc && has_gpu; then
        backend=cuda
    elif is_mac; then
        backend=metal
    else
        backend=cpu
        ! has_gpu || say "here is an NVIDIA GPU, but no nvcc to compile for it: install the CUDA toolkit, build again" >&2
        ! has_nvcc || say "here is nvcc, but no NVIDIA GPU that answers: make build-llama-cuda builds for one elsewhere" >&2
    fi
    say "found: $backend"
fi

case $backend in
cuda)
    has_nvcc || missing "no nvcc: install the CUDA toolkit, or set CUDA_HOME to where it is"
    flags="-DGGML_CUDA=on"
    # CMake looks for nvcc on PATH alone.
    command -v nvcc >/dev/null || export CUDACXX="${CUDACXX:-$toolkit}"
    ;;
metal)
    is_mac || missing "Metal is only on macOS; this is $(uname -s)"
    flags="-DGGML_METAL=on"
    ;;
cpu) flags="-DGGML_CUDA=off -DGGML_METAL=off" ;;
*) say "which one? auto, cuda, metal or cpu, not '$backend'" >&2 && exit 2 ;;
esac
flags="$flags${CMAKE_ARGS:+ $CMAKE_ARGS}"

# One package's lines in the lock file: name, version, hashes.
cut='/^llama-cpp-python==/,/^[^ ]/{/^llama-cpp-python==/p;/--hash=/p;}'
pinned=$(sed -n "$cut" requirements/worker.txt)
[ -n "$pinned" ] || { say "requirements/worker.txt does not pin llama-cpp-python" >&2 && exit 1; }
# --no-cache-dir: pip keeps a wheel by version alone, and would give back one that was built for another GPU.
install=(.venv/bin/python -m pip install --require-hashes --no-deps --force-reinstall --no-cache-dir
    --no-binary llama-cpp-python -r /dev/stdin)
say "${pinned%% *} with $flags"
if [ "$dry_run" != 0 ]; then
    echo "sed -n '$cut' requirements/worker.txt | CMAKE_ARGS='$flags' ${install[*]}"
    exit 0
fi

[ -x .venv/bin/python ] || "$python" -m venv .venv
command -v "${CXX:-c++}" >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null ||
    missing "no C++ compiler; on Debian and Ubuntu: apt install build-essential"
say "compiling takes minutes, for a GPU many"
export CMAKE_ARGS=$flags PIP_DISABLE_PIP_VERSION_CHECK=1
# All cores, also where CMake falls back to make.
export CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(getconf _NPROCESSORS_ONLN)}
printf '%s\n' "$pinned" | "${install[@]}"
say "done: llama.cpp for $backend"
