#!/usr/bin/env bash
# Install what a part of the tests needs and pip does not bring: Debian's Chromium (pages), redis-server (sessions in
# Redis), promtool (the rules for Prometheus), tmux (the monitor in a terminal) and cmake, and build llama.cpp's own server,
# which our engines are held against. Without them those tests are skipped, so this never fails: where it cannot install,
# it says so.
set -u
cd "$(dirname "$0")/.."

say() { printf 'tests: %s\n' "$*"; }

install_packages() {
    local missing=()
    command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null ||
        missing+=(chromium)
    command -v redis-server >/dev/null || missing+=(redis-server)
    command -v promtool >/dev/null || missing+=(prometheus)
    command -v tmux >/dev/null || missing+=(tmux)
    command -v cmake >/dev/null || missing+=(cmake)
    [ ${#missing[@]} -ne 0 ] || return

    # Ubuntu's package of this name only fetches a snap, which does not run in containers.
    if [[ " ${missing[*]} " == *" chromium "* ]] && ! grep -qs '^ID=debian' /etc/os-release; then
        say "no Chromium here, and this is not Debian: the tests of the pages are skipped unless you install one"
        for at in "${!missing[@]}"; do
            if [ "${missing[at]}" = chromium ]; then unset "missing[at]"; fi
        done
        [ ${#missing[@]} -ne 0 ] || return
    fi

    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        say "${missing[*]} not found; some tests are skipped. On Debian: apt install ${missing[*]}"
        return
    fi

    say "installing ${missing[*]} with apt-get"
    export DEBIAN_FRONTEND=noninteractive
    local log
    log=$(mktemp)
    if timeout 120 apt-get update >"$log" 2>&1 &&
        timeout 600 apt-get install --yes --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
        say "installed"
    else
        say "apt-get could not install them; some tests are skipped. Its last words:"
        tail -n 3 "$log"
    fi
    rm -f "$log"
}

install_packages
if [ -z "${LLAMA_SERVER:-}" ] && ! command -v llama-server >/dev/null; then
    requirements/build_llama_server.sh || say "no llama-server; some tests are skipped"
fi
exit 0
