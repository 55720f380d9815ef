"""Fakes of servers that cannot be had here: Ollama and TensorRT-LLM, played over a real socket.

They answer in the form that their documentation shows; what they write means nothing.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]
WORDS = ("It ", "is ", "played.")


class PlayedServer:
    """What is played, and what was asked."""

    def __init__(self, owner: str, key: str = "", models: tuple[str, ...] = ("played:1b",)) -> None:
        self.owner = owner
        self.key = key
        self.models = models
        self.asked: list[tuple[str, Json]] = []
        self.refusals: list[tuple[int, Json]] = []
        """Answers to the next requests for texts, or for how many tokens they have, instead of these."""

    def get(self, path: str) -> tuple[int, Json]:
        match path:
            case "/health" | "/api/version":
                return 200, {"version": "0.0.0"}
            case "/v1/models":
                return 200, {"data": [{"id": name, "object": "model", "owned_by": self.owner} for name in self.models]}
            case "/api/tags":
                return 200, {"models": [{"name": name} for name in self.models]}
            case "/api/ps":
                return 200, {"models": [{"name": name, "context_length": 4096} for name in self.models]}
        return 404, {"error": {"message": f"no {path}"}}

    def post(self, path: str, body: Json) -> tuple[int, Json]:
        self.asked.append((path, body))
        if path == "/api/show":
            if body["model"] not in self.models:
                return 404, {"error": f"model '{body['model']}' not found"}
            info = {"general.architecture": "qwen3", "qwen3.context_length": 40960, "qwen3.embedding_length": 1024}
            details = {"family": "qwen3", "parameter_size": "1.0B", "quantization_level": "Q4_K_M"}
            return 200, {"model_info": info, "details": details, "capabilities": ["completion", "tools", "thinking"]}
        if path == "/tokenize":
            return 200, {"count": 5}
        if path == "/api/generate":
            return 200, {"done": True, "done_reason": "load", "response": ""}
        return 404, {"error": {"message": f"no {path}"}}

    def chunks(self, body: Json) -> Iterator[Json]:
        """The events of a text."""
        for word in WORDS:
            yield {"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}
        yield {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        yield {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}}


@contextmanager
def playing(played: PlayedServer) -> Iterator[str]:
    """Where it answers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(*(played.get(self.path) if self._may() else (401, {"error": {"message": "wrong key"}})))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.path in ("/v1/chat/completions", "/tokenize") and played.refusals:
                self._answer(*played.refusals.pop(0))
            elif self.path != "/v1/chat/completions":
                self._answer(*played.post(self.path, body))
            else:
                played.asked.append((self.path, body))
                self._stream(body)

        def _may(self) -> bool:
            return not played.key or self.headers.get("authorization") == f"Bearer {played.key}"

        def _answer(self, status: int, body: Json) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _stream(self, body: Json) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            for chunk in played.chunks(body):
                self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
            self.wfile.write(b"data: [DONE]\n\n")
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
