#!/usr/bin/env bash
# Run a setup command unless a `make` beside this one has just done it: a command runs once at a time, and others wait for it.
# Usage: requirements/once.sh PYTHON STAMP COMMAND [ARGUMENT...]   (COMMAND is a file, and makes the file STAMP)
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1 stamp=$2
shift 2

# Without a Python there is nothing to lock with; the command says what is missing.
"$python" -c '' 2>/dev/null || exec "$@"

# The kernel gives a lock of flock(2) back when its holder dies. The command's own file is locked: what it makes may be made
# anew, and another command may run beside it.
exec "$python" -c '
import fcntl, os, subprocess, sys

stamp, command = sys.argv[1], sys.argv[2:]
lock = open(command[0])
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("setup: another make is at it; waiting", flush=True)
    fcntl.flock(lock, fcntl.LOCK_EX)
sys.exit(0 if os.path.exists(stamp) else subprocess.call(command))
' "$stamp" "$@"
