"""One example of every message that crosses the bus, by the name of its golden file."""

from typing import Any

from golek_wire import errors, replies, requests, signals

WHEN = "2026-01-02T03:04:05.678Z"
JOB_ID = "gnzmv3lrmpikcji6bcwx5hgsiq"

INFO = signals.ModelInfo(
    architecture="qwen3",
    modalities=["text"],
    parameter_count="4.0B",
    context_size=32768,
    embedding_size=2560,
    quantization="Q4_K_M",
    model_family="qwen3",
    vocab_size=151936,
    size_bytes=2_497_280_000,
)

MESSAGES: dict[str, Any] = {
    "request-smallest": requests.InferenceRequest(input="Why is the sky blue?"),
    "request-full": requests.InferenceRequest(
        req_id="r1",
        input="Why is the sky blue?",
        params=requests.Params(
            max_tokens=200,
            temperature=0.0,
            top_k=10,
            top_p=0.5,
            min_p=0.0,
            repeat_penalty=1.1,
            frequency_penalty=0.5,
            presence_penalty=-0.5,
            seed=7,
            stop=["\n\n", "END"],
            grammar='root ::= "yes" | "no"',
            ignore_eos=True,
        ),
        raw=True,
        stream=True,
        seed=8,
        deadline_ms=30_000,
        priority=3,
        reply_to="answers.me",
        session_id="s1",
        metadata={"user": "u1"},
    ),
    "embedding-request": requests.EmbeddingRequest(
        ["Hello world", "Machine learning"], "e1", "nomic-embed-v1.5", "base64", 2, 5000, reply_to="embed.reply.test"
    ),
    "embedding-reply": replies.EmbeddingReply(
        [replies.Embedding([0.6, -0.8], 0), replies.Embedding("mpkZP83MTL8=", 1)],
        "nomic-embed-v1.5",
        replies.EmbeddingUsage(4, 4),
        "e1",
        12,
        12,
    ),
    "embedding": replies.Embedding([0.6, -0.8], 0),
    "embedding-usage": replies.EmbeddingUsage(4, 4),
    "request-chat": requests.InferenceRequest(
        req_id="r2",
        messages=[
            requests.Message("system", "Be brief."),
            requests.Message("user", "How is the weather?", name="ann"),
            requests.Message(
                "assistant", tool_calls=[{"id": "c1", "type": "function", "function": {"name": "weather"}}]
            ),
            requests.Message("tool", "sunny", tool_call_id="c1"),
        ],
        tools=[{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}],
    ),
    "request-resume": requests.InferenceRequest(
        req_id="r2", input="Why is the sky blue?", stream=True, resume=requests.Resume("Because of Ray", 4)
    ),
    "reply": replies.InferenceReply(
        req_id="r1",
        text="Because of Rayleigh scattering: café, 青, 🙂.",
        tokens_in=6,
        tokens_out=12,
        finish_reason="stop",
        duration_ms=184,
        ms=184,
        model="qwen3-4b",
        seed=7,
    ),
    "chunk": replies.Chunk(req_id="r1", delta="Because ", seq=0),
    "accepted": replies.Accepted(req_id="r1", job_id=JOB_ID, seq=4711),
    "receipt": replies.Receipt(req_id="r1", job_id=JOB_ID, seq=4711, position=3),
    "queued": replies.Queued(req_id="r1", status="queued", position=3, eta_s=1.5),
    "error-retriable": errors.to_reply(
        errors.QueueFullError("the queue of qwen3-4b holds 2000 of 2000 jobs", retry_after_ms=1500), "r1"
    ),
    "error-bad-request": errors.to_reply(
        errors.BadRequestError("params.top_p: Expected `float` <= 1.0", param="params.top_p"), "r1"
    ),
    "error-context": errors.to_reply(errors.ContextBudgetExceededError(5000, 4096), "r1"),
    "error-not-found": errors.to_reply(
        errors.ModelNotFoundError(
            "No model 'qwen3-4' is known: did you mean qwen3-4b?",
            model="qwen3-4",
            did_you_mean="qwen3-4b",
            available=["qwen3-4b"],
        ),
        "",
    ),
    "health": signals.Health(
        model_name="qwen3-4b",
        status="online",
        last_activity=WHEN,
        capabilities=["inference"],
        endpoint="http://127.0.0.1:8080",
        nats_topic="inference.request.qwen3-4b",
        version="0.1.0",
        model_info=INFO,
        worker_id="qwen3-4b-host-1",
        engine="llamacpp",
        device="cpu",
        slots=4,
        active=1,
        last_token_age_ms=12,
        monitor_subject="monitoring.inference.qwen3-4b",
    ),
    "health-failed": signals.Health(
        model_name="qwen3-4b",
        status="failed",
        last_activity=WHEN,
        capabilities=[],
        endpoint="",
        nats_topic="inference.request.qwen3-4b",
        version="0.1.0",
        model_info=signals.ModelInfo(),
        problem="model.gguf: no such file",
        log_problem="OperationalError: database or disk is full",
        log_rows_lost=12,
    ),
    "load-report": signals.LoadReport(
        model_name="qwen3-4b",
        pending_messages=2,
        active_processing=1,
        timestamp=WHEN,
        worker_count=4,
        queue_capacity=2000,
        status="warning",
        worker_id="qwen3-4b-host-1",
        seq=42,
        incarnation="b2f1",
        last_token_age_ms=12,
        utilization=0.0015,
    ),
    "model-record": signals.ModelRecord(
        name="qwen3-4b",
        kinds=["inference"],
        state="online",
        deployment="qwen3",
        last_seen=WHEN,
        context_size=32768,
        digest="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        subjects=["inference.request.qwen3-4b"],
    ),
    "dead-letter": signals.DeadLetter(
        job_id=JOB_ID,
        req_id="r1",
        model="qwen3-4b",
        worker_id="qwen3-4b-host-1",
        at=WHEN,
        crashes=3,
        input_sha256="2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
        log_tail=["ggml_abort: out of memory"],
        payload='{"req_id":"r1","input":"foo"}',
        seed=7,
        replay=f"golek dlq retry {JOB_ID}",
        subject="inference.request.qwen3-4b",
    ),
}
