"""Who else serves a GGUF file, and how are they asked?

llama-server is built once from the sources that llama-cpp-python's sdist carries, `llama_cpp.server` gets a virtual
environment of its own; both lie in a cache folder outside the repository (GOLEK_BENCH_CACHE). A llama-server that is
there already is taken with GOLEK_BENCH_LLAMA_SERVER=/path/to/llama-server.

All servers are asked through `Served`, by one program, so that their figures can be compared.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import llama_cpp
import psutil
import random_model
from support import WorkerProcess, broker, ended, note

from golek_client import Golek
from golek_wire.signals import Health
from tests.support.ports import free_port

CACHE = Path(os.environ.get("GOLEK_BENCH_CACHE", "~/.cache/golek-bench")).expanduser()
READY_BUILD = os.environ.get("GOLEK_BENCH_LLAMA_SERVER", "")
LLAMA_CPP = version("llama-cpp-python")
PYTHON_SERVER = ("uvicorn", "fastapi", "pydantic-settings", "sse-starlette", "starlette-context<0.4", "PyYAML")
CMAKE = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
)
DEPLOYMENT = "golek-tiny"
"""Whose env file our worker reads; what is to be measured overrides it."""
START_S = 180.0
SAMPLING: dict[str, Any] = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05}
"""llama.cpp's own defaults, and ours."""


class Served(Protocol):
    """A server that writes."""

    name: str
    command: str
    """How it was started."""

    async def ask(self, prompt: str, tokens: int, seed: int, arrived: Callable[[], object]) -> int:
        """Stream `tokens` tokens behind `prompt`, calling `arrived` for each piece; the number of its own tokens."""
        ...


class Ours:
    """A worker, through a broker."""

    name = "golek"

    def __init__(self, golek: Golek, model: str, command: str, sampling: dict[str, Any] = SAMPLING) -> None:
        self._golek = golek
        self._model = model
        self._sampling = sampling
        self.command = command

    async def ask(self, prompt: str, tokens: int, seed: int, arrived: Callable[[], object]) -> int:
        stream = self._golek.stream(
            self._model,
            prompt,
            raw=True,
            max_tokens=tokens,
            ignore_eos=True,
            seed=seed,
            deadline=600.0,
            **self._sampling,
        )
        async with stream:
            async for _ in stream:
                arrived()
        if stream.reply.tokens_out != tokens:
            raise RuntimeError(f"{stream.reply.tokens_out} tokens instead of {tokens}")
        return stream.reply.tokens_in

    async def health(self) -> Health:
        """What the worker says of itself."""
        return await self._golek.health(self._model)


class LlamaServer:
    """llama-server's `/completion`."""

    name = "llama-server"

    def __init__(self, port: int, command: str) -> None:
        self._port = port
        self.command = command
        self.reuse = False
        """Use what is known of earlier prompts; llama-server's own default is yes."""

    async def ask(self, prompt: str, tokens: int, seed: int, arrived: Callable[[], object]) -> int:
        chain = {"samplers": ["top_k", "top_p", "min_p", "temperature"], "ignore_eos": True} | SAMPLING
        body = {"prompt": prompt, "n_predict": tokens, "seed": seed, "cache_prompt": self.reuse, "stream": True} | chain
        last: dict[str, Any] = {}
        async with aclosing(events(self._port, "/completion", body)) as received:
            async for event in received:
                if b'"stop":false' in event:
                    arrived()
                else:
                    last = json.loads(event)
        if last.get("tokens_predicted") != tokens:
            raise RuntimeError(f"not {tokens} tokens: {last}")
        return int(last["tokens_evaluated"])

    async def post(self, path: str, **body: Any) -> dict[str, Any]:
        """The answer to a request without streaming."""
        return await post(self._port, path, body)


class PythonServer:
    """`llama_cpp.server`'s `/v1/completions`."""

    name = "llama_cpp.server"

    def __init__(self, port: int, command: str) -> None:
        self._port = port
        self.command = command

    async def ask(self, prompt: str, tokens: int, seed: int, arrived: Callable[[], object]) -> int:
        pieces = 0
        body = {"prompt": prompt, "max_tokens": tokens, "seed": seed, "stream": True} | SAMPLING
        async with aclosing(events(self._port, "/v1/completions", body)) as received:
            async for event in received:
                if event != b"[DONE]":
                    arrived()
                    pieces += 1
        if pieces < tokens:
            raise RuntimeError(f"{pieces} pieces instead of {tokens}")
        return 0


async def events(port: int, path: str, body: dict[str, Any]) -> AsyncIterator[bytes]:
    """The server-sent events that answer `body`. Leaving early closes the connection. Raises RuntimeError."""
    reader, writer = await _send(port, path, body)
    try:
        status = await reader.readline()
        if b" 200 " not in status:
            raise RuntimeError(f"{path}: {status!r} {await reader.read()!r}")
        while line := await reader.readline():
            if line.startswith(b"data: "):
                yield line[6:].strip()
    finally:
        writer.close()


async def post(port: int, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """A JSON answer. Raises RuntimeError."""
    reader, writer = await _send(port, path, body)
    try:
        head, _, content = (await reader.read()).partition(b"\r\n\r\n")
        if b" 200 " not in head.splitlines()[0]:
            raise RuntimeError(f"{path}: {head!r} {content!r}")
        answer: dict[str, Any] = json.loads(content)
        return answer
    finally:
        writer.close()


async def _send(port: int, path: str, body: dict[str, Any]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**26)
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return reader, writer


# -- what runs -------------------------------------------------------------------------------------------------


def model_file(kind: str) -> Path:
    """The model with random weights, written once."""
    path = CACHE / f"random-{kind}-{LLAMA_CPP}.gguf"
    if not path.exists():
        note(f"writing {path}")
        random_model.write(sources() / "models/ggml-vocab-llama-spm.gguf", path, kind)
    return path


def sources() -> Path:
    """llama.cpp as llama-cpp-python's sdist has it, of the version that is installed."""
    folder = CACHE / f"llama_cpp_python-{LLAMA_CPP}"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        wanted = f"llama-cpp-python=={LLAMA_CPP}"
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            call(sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary=:all:", "-d", scratch, wanted)
            (archive,) = Path(scratch).glob("*.tar.gz")
            with tarfile.open(archive) as content:
                content.extractall(scratch, filter="data")
            (Path(scratch) / folder.name).rename(folder)
    return folder / "vendor/llama.cpp"


def server_file(*, gpu: bool = False) -> Path:
    """llama-server, compiled once; for NVIDIA's GPUs it needs their toolkit (`nvcc`)."""
    if READY_BUILD:
        return Path(READY_BUILD)
    build = CACHE / f"llama-server-{LLAMA_CPP}{'-cuda' if gpu else ''}"
    binary = build / "bin/llama-server"
    if not binary.exists():
        note(f"compiling llama-server in {build}: minutes")
        call("cmake", "-S", str(sources()), "-B", str(build), *CMAKE, f"-DGGML_CUDA={'ON' if gpu else 'OFF'}")
        call("cmake", "--build", str(build), "--target", "llama-server", "--parallel")
    return binary


def python_server() -> Path:
    """A Python with what `llama_cpp.server` needs, over the llama_cpp that is installed here. Raises RuntimeError."""
    folder = CACHE / f"llama_cpp_server-{LLAMA_CPP}"
    python = folder / "bin/python"
    done = folder / "complete"
    if not done.exists():
        note(f"installing what llama_cpp.server needs in {folder}")
        call(sys.executable, "-m", "venv", "--clear", str(folder))
        call(str(python), "-m", "pip", "install", "--quiet", *PYTHON_SERVER)
        packages = Path(llama_cpp.__file__).parent.parent
        (packages_of,) = folder.glob("lib/python*/site-packages")
        (packages_of / "llama_cpp.pth").write_text(f"{packages}\n")
        done.touch()
    return python


def call(*command: str) -> None:
    """Run `command`, its output on stderr. Raises RuntimeError when it fails."""
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0:
        raise RuntimeError(f"failed: {' '.join(command)}")


class Shape:
    """How large a server is: what all of them are told alike."""

    def __init__(self, model: Path, slots: int, ctx_size: int, threads: int, *, gpu: bool = False) -> None:
        self.model, self.slots, self.ctx_size, self.threads, self.gpu = model, slots, ctx_size, threads, gpu

    @property
    def llama_server(self) -> list[str]:
        """llama-server's options; batches, continuous batching and flash attention are its defaults."""
        sizes = {"-np": self.slots, "-c": self.slots * self.ctx_size, "-t": self.threads, "-b": 2048, "-ub": 512}
        on_gpu = ["-ngl", "999"] if self.gpu else []
        return ["-m", str(self.model), *(str(part) for pair in sizes.items() for part in pair), *on_gpu, "--no-webui"]

    @property
    def python_server(self) -> list[str]:
        """llama_cpp.server's. A stream is not given up for the next request, or most tokens were never sent."""
        sizes = {"n_ctx": self.ctx_size, "n_threads": self.threads, "n_threads_batch": self.threads}
        options = [f"--{name}={value}" for name, value in sizes.items()]
        return [f"--model={self.model}", *options, "--interrupt_requests=false"]

    @property
    def ours(self) -> dict[str, object]:
        """The worker's settings."""
        sizes = {"WORKER_CONCURRENCY": self.slots, "CTX_SIZE": self.ctx_size, "MODEL_THREADS": self.threads}
        return {"MODEL_PATH": self.model, "MODEL_NAME": "random", **sizes}

    @property
    def our_command(self) -> str:
        """How our worker is started; the size of its batches it chooses itself."""
        settings = [f"{name}={value}" for name, value in self.ours.items()]
        return command_line(*settings, f"python -m golek_worker.worker {DEPLOYMENT}")


def command_line(*parts: str) -> str:
    """A command as results show it: of a path only the file's name."""
    return " ".join(re.sub(r"(^|=)/.*/", r"\1", part) for part in parts)


@contextmanager
def ours(shape: Shape) -> Iterator[tuple[str, WorkerProcess]]:
    """A broker's URL, and the worker there."""
    with (
        tempfile.TemporaryDirectory(prefix="golek-bench-") as data,
        broker() as url,
        WorkerProcess(url, Path(data), DEPLOYMENT, GOLEK_LOG_LEVEL="warning", **shape.ours) as worker,
    ):
        yield url, worker


@contextmanager
def llama_server(shape: Shape) -> Iterator[LlamaServer]:
    """llama-server, ready."""
    port = free_port()
    with _serving([str(server_file(gpu=shape.gpu)), *shape.llama_server, "--port", str(port)], port):
        yield LlamaServer(port, command_line(LlamaServer.name, *shape.llama_server))


@contextmanager
def llama_cpp_server(shape: Shape) -> Iterator[PythonServer]:
    """llama_cpp.server, ready. Raises RuntimeError where it cannot be installed."""
    port = free_port()
    command = [str(python_server()), "-m", "llama_cpp.server", *shape.python_server, f"--port={port}"]
    with _serving(command, port):
        yield PythonServer(port, command_line("python -m llama_cpp.server", *shape.python_server))


@contextmanager
def _serving(command: list[str], port: int) -> Iterator[None]:
    """Run `command` until it listens on `port`. Raises RuntimeError with its output when it ends before."""
    surroundings = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    with tempfile.TemporaryFile() as log:
        running = subprocess.Popen(command, stdout=log, stderr=log, env=surroundings)
        with ended(running):
            deadline = time.monotonic() + START_S
            while not answers(port):
                if running.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"{' '.join(command)}: {log.read().decode(errors='replace')[-3000:]}")
                time.sleep(0.1)
            yield


def answers(port: int) -> bool:
    """Whether a model is served there: servers list it once it is loaded."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=1.0):
            return True
    except OSError:
        return False


def cores() -> int:
    """Physical ones."""
    return psutil.cpu_count(logical=False) or 1
