-- Logs of version 1 know nothing of what the engine measured.
CREATE TEMP VIEW rows AS SELECT
    id, ts, req_id, job_id, worker_id, kind, principal, status, raw_input, formatted_input, output, input_sha256,
    tokens_in, tokens_out, finish_reason, dur_ms, ttft_ms, queue_ms, attempt, stream, seed, error,
    NULL AS adapter, NULL AS texts, NULL AS tokens_cached, NULL AS waited_ms, NULL AS prefill_ms, NULL AS decode_ms,
    NULL AS tokens_per_s, NULL AS trace_id,
    NULL AS asked, NULL AS target, NULL AS cost_usd, NULL AS cache, NULL AS parent, NULL AS step,
    NULL AS mode, NULL AS rounds, NULL AS agreement
FROM requests;
