#!/usr/bin/env bash
# Install what a part of the tests needs and pip does not bring: Debian's Chromium (pages), redis-server (sessions in
# Redis), promtool (the rules for Prometheus), tmux (the monitor in a terminal) and cmake, for llama.cpp's own server, which
# is compiled. Without them those tests are skipped, so this never fails: where it cannot install, it says so.
set -u
cd "$(dirname "$0")/.."

say() { printf 'tests: %s\n' "$*"; }

# An engine of its own, and what ours are held against.
build_llama_server() {
    [ -z "${LLAMA_SERVER:-}" ] && ! command -v llama-server >/dev/null || exit 0
    requirements/build_llama_server.sh || say "no llama-server; some tests are skipped"
    exit 0
}

missing=()
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null ||
    missing+=(chromium)
command -v redis-server >/dev/null || missing+=(redis-server)
command -v promtool >/dev/null || missing+=(prometheus)
command -v tmux >/dev/null || missing+=(tmux)
command -v cmake >/dev/null || missing+=(cmake)
[ ${#missing[@]} -eq 0 ] && build_llama_server

# Ubuntu's package of this name only fetches a snap, which does not run in containers.
if [[ " ${missing[*]} " == *" chromium "* ]] && ! grep -qs '^ID=debian' /etc/os-release; then
    say "no Chromium here, and this is not Debian: the tests of the pages are skipped unless you install one"
    for at in "${!missing[@]}"; do
        if [ "${missing[at]}" = chromium ]; then unset "missing[at]"; fi
    done
    [ ${#missing[@]} -eq 0 ] && build_llama_server
fi

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    say "${missing[*]} not found; some tests are skipped. On Debian: apt install ${missing[*]}"
    build_llama_server
fi

say "installing ${missing[*]} with apt-get"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if timeout 120 apt-get update >"$log" 2>&1 &&
    timeout 600 apt-get install --yes --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
    say "installed"
else
    say "apt-get could not install them; some tests are skipped. Its last words:"
    tail -n 3 "$log"
fi
rm -f "$log"
build_llama_server
