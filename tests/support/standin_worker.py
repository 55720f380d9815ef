"""A worker without bus and engine: it writes its run file as a real one does and waits for SIGTERM.

`STANDIN` says how it behaves: `ok`, `fail` (says why and exits), `crash` (a traceback), `deaf` (ignores SIGTERM).
"""

import argparse
import os
import signal
import sys
from pathlib import Path

import msgspec

from golek_worker import process
from golek_worker.machine import runfile
from golek_worker.machine.runfile import RunState


def main() -> None:
    """Come online or not, as told; then wait to be stopped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("deployment")
    parser.add_argument("--replica", type=int, default=1)
    parser.add_argument("--log", default="")
    arguments = parser.parse_args()
    behaviour = os.environ.get("STANDIN", "ok")
    if behaviour == "crash":
        raise RuntimeError("the stand-in crashes before it can say anything")
    signals = {signal.SIGTERM, signal.SIGUSR1}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    data = Path(os.environ["GOLEK_DATA"])
    me = process.identify()
    state = RunState(
        worker_id=runfile.worker_id(arguments.deployment, arguments.replica),
        deployment=arguments.deployment,
        replica=arguments.replica,
        pid=me.pid,
        created=me.created,
        nats_url=os.environ["NATS_URL"],
        log=arguments.log,
    )
    runfile.write(data, state)
    runfile.write(data, msgspec.structs.replace(state, state="loading"))
    if signal.sigtimedwait(signals, float(os.environ.get("STANDIN_LOADS_S", "0.05"))):
        runfile.remove(data, arguments.deployment, arguments.replica)
        return
    if behaviour == "fail":
        print("loading the model: the file ends early", flush=True)
        runfile.write(data, msgspec.structs.replace(state, state="failed", problem="model.gguf is cut short"))
        sys.exit(1)
    runfile.write(data, msgspec.structs.replace(state, state="online"))
    signal.sigwait(signals if behaviour != "deaf" else {signal.SIGUSR1})
    runfile.remove(data, arguments.deployment, arguments.replica)


if __name__ == "__main__":
    main()
