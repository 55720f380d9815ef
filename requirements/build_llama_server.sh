#!/usr/bin/env bash
# Build bin/llama-server, llama.cpp's own server: from the source package of llama-cpp-python, in the version and with the
# hash of requirements/worker.txt, on the libraries that are in .venv already. Only what they lack is compiled.
# Usage: requirements/build_llama_server.sh   (DRY_RUN=1 prints the commands and builds nothing)
set -euo pipefail
cd "$(dirname "$0")/.."

dry_run=${DRY_RUN:-0}
fail() {
    printf 'build-llama-server: %s\n' "$@" >&2
    exit 1
}
# What is missing ends a build; a dry run only mentions it.
missing() {
    [ "$dry_run" != 0 ] || fail "$@"
    printf 'build-llama-server: %s\n' "$@" >&2
}

command -v cmake >/dev/null || missing "no cmake; on Debian and Ubuntu: apt install cmake"
command -v "${CXX:-c++}" >/dev/null || missing "no C++ compiler; on Debian and Ubuntu: apt install build-essential"
libraries=$(.venv/bin/python -c 'import importlib.util, pathlib
print(pathlib.Path(importlib.util.find_spec("llama_cpp").origin).parent / "lib")' 2>/dev/null) || libraries=".venv/…/lib"
[ -d "$libraries" ] ||
    missing "$libraries: llama-cpp-python has no libraries there; make build-llama builds them"

cut='/^llama-cpp-python==/,/^[^ ]/{/^llama-cpp-python==/p;/--hash=/p;}'
pinned=$(sed -n "$cut" requirements/worker.txt)
version=$(printf '%s\n' "$pinned" | sed -n '1s/.*==\([^ ]*\).*/\1/p')
work='$work'
if [ "$dry_run" = 0 ]; then
    stamp="$version $(cksum <requirements/llama_server/CMakeLists.txt) $libraries"
    if [ -x bin/llama-server ] && [ "$(cat bin/.llama-server 2>/dev/null)" = "$stamp" ]; then
        echo "build-llama-server: bin/llama-server is there, of version $version"
        exit 0
    fi
    work=$(mktemp -d)
fi
source=$work/source/vendor/llama.cpp
jobs=${CMAKE_BUILD_PARALLEL_LEVEL:-$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)}
fetch=(.venv/bin/python -m pip download --quiet --disable-pip-version-check --require-hashes --no-deps
    --no-binary llama-cpp-python --dest "$work" -r /dev/stdin)
# What computes is in the libraries: the rest need not be optimized as far, which saves half of the time.
configure=(cmake -S requirements/llama_server -B "$work/build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE=-O1
    -DSOURCE="$source" -DLIBRARIES="$libraries" -DVERSION="$version")
compile=(cmake --build "$work/build" --target llama-server --parallel "$jobs")
if [ "$dry_run" != 0 ]; then
    printf '%s\n' "sed -n '$cut' requirements/worker.txt | ${fetch[*]}" "${configure[*]}" "${compile[*]}"
    exit 0
fi

trap 'rm -rf "$work"' EXIT
echo "build-llama-server: fetching the source of llama-cpp-python $version"
printf '%s\n' "$pinned" | "${fetch[@]}"
mkdir "$work/source"
tar -xzf "$work"/llama_cpp_python-*.tar.gz -C "$work/source" --strip-components 1

echo "build-llama-server: compiling with $jobs processes, which takes minutes"
"${configure[@]}" >"$work/log" 2>&1 && "${compile[@]}" >>"$work/log" 2>&1 ||
    { tail -n 20 "$work/log" >&2; fail "the build failed; its last lines are above"; }
mkdir -p bin
install -m 755 "$work/build/llama-server" bin/llama-server
printf '%s\n' "$stamp" >bin/.llama-server
echo "build-llama-server: bin/llama-server $version"
