"""What does HTTP cost, beside another gateway?

The LiteLLM proxy over an upstream that costs nothing (`upstream.py`), a bare forwarder that does what a gateway must
(`forwarder.py`), and ours over the echo worker. What each path contains:

- `litellm`: LiteLLM's proxy with a master key, no database, no callbacks, as many workers as cores, under uvicorn
  and under granian; upstream outside the measure.
- `forwarder`: one process of uvicorn for each core; key, two rate limits, metrics, a trace, a log line, a row in
  SQLite; upstream outside the measure.
- `golek`: the gateway, the broker, the worker and its engine child: all of them inside. The request is checked, stored
  in JetStream, leased, run by the echo engine, answered, logged to SQLite, acknowledged. STREAM_GATHER_MS=0.

All processes of the one that is measured are pinned to GATEWAY_CORES (0,1); wrk and the upstream to the other cores.
The sides take turns for GATEWAY_ROUNDS rounds (3) of GATEWAY_SECONDS (5), and figures are medians. `added_p50` is the
median latency of one caller, less that of the upstream asked directly. Tokens of streams are counted by what is asked
for (128) times the streams that ended well; one stream of each side is read whole before, and has to say all of them.
`rss` is of all processes of a side, `rss_gateway` that of the process (of LiteLLM one worker) that speaks HTTP.

Needs wrk, and an environment with LiteLLM: GOLEK_BENCH_LITELLM=/path/to/venv, else one is made in GOLEK_BENCH_CACHE.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
from support import ROOT, broker, ended, figure, median, note, worker

from tests.support.ports import free_port

BENCH = "gateway"
CORES = [int(core) for core in os.environ.get("GATEWAY_CORES", "0,1").split(",")]
OTHERS = [core for core in range(os.cpu_count() or 1) if core not in CORES] or CORES
ROUNDS = int(os.environ.get("GATEWAY_ROUNDS", "3"))
SECONDS = int(os.environ.get("GATEWAY_SECONDS", "5"))
SIDES = os.environ.get("GATEWAY_SIDES", "litellm uvicorn,litellm granian,forwarder,golek").split(",")
TOKENS = 128
KEY = "sk-bench-7f3c9a1e5b2d4806a9c1e3f7d5b80246"
CACHE = Path(os.environ.get("GOLEK_BENCH_CACHE", "~/.cache/golek-bench")).expanduser()
LITELLM = "litellm[proxy]==1.109.1"
OVERRIDES = "litellm-proxy-extras==0.4.108\ncertifi>=2026.1\n"
"""The release asks for newer ones than there are."""
BESIDE = ("granian", "opentelemetry-api", "opentelemetry-sdk", "opentelemetry-exporter-otlp", "limits", "structlog")
BESIDE += ("aiosqlite", "prometheus-client", "msgspec", "starlette", "aiohttp", "uvicorn", "uvloop", "httptools")
HELLO = "What is a lease?"
WORDS = " ".join(f"tok{number:03}" for number in range(TOKENS))
"""The echo engine writes it back: as many tokens as are counted."""


def environment() -> Path:
    """A virtual environment with LiteLLM, compiled: else it would compile itself anew on every request."""
    given = os.environ.get("GOLEK_BENCH_LITELLM")
    folder = Path(given) if given else CACHE / "litellm"
    if not (folder / "bin" / "litellm").exists():
        note(f"making {folder} with LiteLLM; that takes some minutes")
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = folder / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "-q", "uv"], check=True)
        overrides = folder / "overrides.txt"
        overrides.write_text(OVERRIDES)
        install = ["uv", "pip", "install", "-q", "--python", python, "--override", overrides, LITELLM, *BESIDE]
        subprocess.run([python, "-m", *install], check=True)
        plain = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        subprocess.run([python, "-m", "compileall", "-q", folder / "lib"], check=False, env=plain)
    return folder


class Side:
    """One that is measured."""

    def __init__(self, name: str, model: str, port: int, family: Callable[[], list[psutil.Process]]) -> None:
        self.name = name
        self.model = model
        self.port = port
        self._family = family

    def pin(self) -> None:
        """Put all its processes on the cores of the measure."""
        for process in self._family():
            for thread in process.threads():
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(thread.id, CORES)

    @property
    def rss_mb(self) -> list[float]:
        """Of each process."""
        return [process.memory_info().rss / 1e6 for process in self._family()]

    @property
    def cpu_s(self) -> float:
        times = [process.cpu_times() for process in self._family()]
        return sum(one.user + one.system for one in times)


def tree(*pids: int) -> list[psutil.Process]:
    """These processes and their descendants."""
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            found += [process, *process.children(recursive=True)]
    return found


@contextmanager
def upstream() -> Iterator[int]:
    port = free_port()
    command = [sys.executable, ROOT / "bench" / "upstream.py", str(port)]
    with ended(subprocess.Popen(command, env=os.environ | {"TOKENS": str(TOKENS)})) as process:
        os.sched_setaffinity(process.pid, OTHERS)
        answering(port, "fake")
        yield port


@contextmanager
def litellm(server: str, behind: int) -> Iterator[Side]:
    venv, port = environment(), free_port()
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as folder:
        config = Path(folder) / "litellm.json"
        params = {"model": "openai/fake", "api_key": "sk-fake", "api_base": f"http://127.0.0.1:{behind}/v1"}
        settings = {
            "model_list": [{"model_name": "fake", "litellm_params": params}],
            "litellm_settings": {"callbacks": [], "num_retries": 0, "request_timeout": 30},
            "general_settings": {"master_key": KEY},
        }
        config.write_text(json.dumps(settings))
        command = [venv / "bin" / "litellm", "--config", config, "--host", "127.0.0.1", "--port", str(port)]
        command += ["--num_workers", str(len(CORES))] + (["--run_granian"] if server == "granian" else [])
        said = {"LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        said |= {"LITELLM_DONT_SHOW_FEEDBACK_BOX": "True", "NO_DOCS": "True"}
        said["PATH"] = f"{venv / 'bin'}:{os.environ['PATH']}"
        with started(command, said, Path(folder)) as process:
            yield Side(f"litellm {server}", "fake", port, lambda: tree(process.pid))


@contextmanager
def forwarder(behind: int) -> Iterator[Side]:
    venv, port = environment(), free_port()
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as folder:
        command = [venv / "bin" / "python", "-m", "uvicorn", "forwarder:app", "--port", str(port), "--loop", "uvloop"]
        command += ["--http", "httptools", "--no-access-log", "--log-level", "warning", "--workers", str(len(CORES))]
        said = {"UPSTREAM": f"http://127.0.0.1:{behind}/v1/chat/completions", "KEY": KEY}
        said |= {"ROWS": str(Path(folder) / "rows.db"), "PYTHONPATH": str(ROOT / "bench")}
        with started(command, said, Path(folder)) as process:
            yield Side("forwarder", "fake", port, lambda: tree(process.pid))


@contextmanager
def golek() -> Iterator[Side]:
    port = free_port()
    with ExitStack() as stack:
        url = stack.enter_context(broker())
        data = stack.enter_context(tempfile.TemporaryDirectory(prefix="golek-bench-"))
        keys = Path(data) / "api_keys.txt"
        keys.touch(0o600)
        keys.write_text(f"bench:{KEY}\n")
        settings = {"STREAM_GATHER_MS": 0, "WORKER_CONCURRENCY": 128, "GOLEK_KEY_FILE": keys}
        echo = stack.enter_context(worker(url, **settings))
        said = {"NATS_URL": url, "INFERENCE_PORT": str(port), "GOLEK_DATA": data, "GOLEK_KEY_FILE": str(keys)}
        said |= {"GOLEK_HEALTH_PORT": "0", "GOLEK_LOG_LEVEL": "warning", "PYTHONPATH": str(ROOT)}
        process = stack.enter_context(started([sys.executable, "-m", "golek_worker.front"], said, Path(data)))
        own = psutil.Process()
        brokers = [child.pid for child in own.children() if "nats-server" in child.name()]
        yield Side("golek", "echo", port, lambda: tree(process.pid, echo.pid, *brokers))


@contextmanager
def started(command: list[Any], said: dict[str, str], folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    plain = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with (
        (folder / "log").open("wb") as log,
        ended(subprocess.Popen(command, env=plain | said, stdout=log, stderr=log, cwd=folder)) as process,
    ):
        children: list[psutil.Process] = []
        try:
            yield process
        finally:
            children = tree(process.pid)
            process.terminate()
            psutil.wait_procs(children, timeout=8)
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()


def ask(port: int, model: str, *, stream: bool, content: str = HELLO) -> bytes:
    body = {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": TOKENS, "stream": stream}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {KEY}"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: bytes = answer.read()
    return found


def answering(port: int, model: str, patience_s: float = 90.0) -> None:
    """Wait until requests are answered."""
    until = time.monotonic() + patience_s
    while True:
        try:
            ask(port, model, stream=False)
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return


def whole(side: Side) -> int:
    """Read a stream; how many words of text it brought. Raises AssertionError when that is not all of them."""
    events = ask(side.port, side.model, stream=True, content=WORDS).decode().split("\n\n")
    decoded = [json.loads(event[6:]) for event in events if event.startswith("data: {")]
    text = "".join(choice["delta"].get("content") or "" for event in decoded for choice in event["choices"])
    assert len(text.split()) == TOKENS, (side.name, text[:200])
    return len(decoded)


def load(port: int, model: str, connections: int, *, stream: bool) -> dict[str, Any]:
    """What wrk measures."""
    said = {"MODEL": model, "KEY": KEY, "STREAM": "true" if stream else "false", "MAX_TOKENS": str(TOKENS)}
    said["WORDS"] = WORDS if stream else HELLO
    command = ["taskset", "-c", ",".join(map(str, OTHERS)), "wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s"]
    command += ["--timeout", "30s", "-s", str(ROOT / "bench" / "gateway.lua")]
    command.append(f"http://127.0.0.1:{port}/v1/chat/completions")
    done = subprocess.run(command, env=os.environ | said, capture_output=True, text=True, check=True)
    (line,) = re.findall(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    found: dict[str, Any] = json.loads(line)
    return found


def measured(side: Side) -> dict[str, float]:
    """One round of one side."""
    side.pin()
    events = whole(side)
    found: dict[str, float] = {"events": events}
    one = load(side.port, side.model, 1, stream=False)
    before = side.cpu_s
    many = load(side.port, side.model, 64, stream=False)
    cpu = side.cpu_s - before
    before = side.cpu_s
    streams = load(side.port, side.model, 16, stream=True)
    found["cpu_us_per_request"] = cpu / many["requests"] * 1e6
    found["cpu_us_per_token"] = (side.cpu_s - before) / max(1, streams["requests"] * TOKENS) * 1e6
    found["p50_ms"] = one["p50_ms"]
    found["requests_per_s"] = (many["requests"] - many["failed"]) / many["seconds"]
    found["tokens_per_s"] = (streams["requests"] - streams["failed"]) * TOKENS / streams["seconds"]
    found["failed"] = one["failed"] + many["failed"] + streams["failed"]
    found["rss_mb"] = sum(side.rss_mb)
    found["rss_gateway_mb"] = side.rss_mb[0] if side.name == "golek" else max(side.rss_mb)
    note(f"{side.name:16} " + "  ".join(f"{key} {value:.1f}" for key, value in found.items()))
    return found


def opened(name: str, behind: int) -> AbstractContextManager[Side]:
    if name.startswith("litellm"):
        return litellm(name.removeprefix("litellm "), behind)
    return forwarder(behind) if name == "forwarder" else golek()


def main() -> None:
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in SIDES}
    direct: list[float] = []
    with upstream() as behind:
        for _ in range(ROUNDS):
            direct.append(load(behind, "fake", 1, stream=False)["p50_ms"])
            for name in SIDES:
                with opened(name, behind) as side:
                    answering(side.port, side.model)
                    rounds[name].append(measured(side))
    floor = median(direct)

    def of(name: str, key: str) -> float:
        return median([one[key] for one in rounds[name]])

    how = {"cores": f"{len(CORES)} of {os.cpu_count()}", **{name: _how(name) for name in SIDES}}
    peers = [name for name in SIDES if name.startswith("litellm")]
    if peers and "golek" in SIDES:
        best = max(peers, key=lambda name: of(name, "requests_per_s"))
        quick = min(peers, key=lambda name: of(name, "p50_ms"))
        wide = max(peers, key=lambda name: of(name, "tokens_per_s"))
        small = min(peers, key=lambda name: of(name, "rss_mb"))
        per_s = of("golek", "requests_per_s"), of(best, "requests_per_s")
        figure(BENCH, "requests_per_s", *per_s, "requests/s", ROUNDS, how | {"peer": best})
        figure(BENCH, "added_p50", of("golek", "p50_ms") - floor, of(quick, "p50_ms") - floor, "ms", ROUNDS)
        figure(BENCH, "stream_tokens_per_s", of("golek", "tokens_per_s"), of(wide, "tokens_per_s"), "tokens/s", ROUNDS)
        figure(BENCH, "rss", of("golek", "rss_mb"), of(small, "rss_mb"), "MB", ROUNDS)
        own = of("golek", "rss_gateway_mb"), min(of(name, "rss_gateway_mb") for name in peers)
        figure(BENCH, "rss_gateway", *own, "MB", ROUNDS)
    if "forwarder" in SIDES and "golek" in SIDES:
        per_s = of("golek", "requests_per_s"), of("forwarder", "requests_per_s")
        figure(BENCH, "vs_forwarder", *per_s, "requests/s", ROUNDS)
        per_s = of("golek", "tokens_per_s"), of("forwarder", "tokens_per_s")
        figure(BENCH, "vs_forwarder_tokens", *per_s, "tokens/s", ROUNDS)
    for name in SIDES:
        figure(BENCH, f"failed {name}", sum(one["failed"] for one in rounds[name]), None, "requests", ROUNDS)
        figure(BENCH, f"cpu {name}", of(name, "cpu_us_per_request"), None, "us/request", ROUNDS)
        figure(BENCH, f"cpu stream {name}", of(name, "cpu_us_per_token"), None, "us/token", ROUNDS)


def _how(name: str) -> str:
    if name == "golek":
        return "gateway, broker, worker and engine child; key, JetStream, log"
    workers = f"{len(CORES)} processes"
    return f"{workers}; upstream outside" if name == "forwarder" else f"{LITELLM}, {workers}; upstream outside"


if __name__ == "__main__":
    main()
