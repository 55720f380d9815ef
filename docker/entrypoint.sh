#!/bin/sh
# Where models, logs and the broker's store lie: GOLEK_DATA, else the volume that was mounted, /app/data or /data.
# What ships, a small model and the catalogue, lies in /app/data unless a volume is in its place.
set -eu
if [ -z "${GOLEK_DATA:-}" ]; then
    if grep -q ' /app/data ' /proc/self/mounts; then GOLEK_DATA=data; else GOLEK_DATA=/data; fi
    export GOLEK_DATA
fi
exec golek "$@"
