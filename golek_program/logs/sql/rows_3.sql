CREATE TEMP VIEW rows AS SELECT
    id, ts, req_id, job_id, worker_id, kind, principal, status, raw_input, formatted_input, output, input_sha256,
    tokens_in, tokens_out, finish_reason, dur_ms, ttft_ms, queue_ms, attempt, stream, seed, error,
    adapter, texts, tokens_cached, waited_ms, prefill_ms, decode_ms, tokens_per_s, trace_id,
    NULL AS asked, NULL AS target, NULL AS cost_usd, NULL AS cache, NULL AS parent, NULL AS step,
    NULL AS mode, NULL AS rounds, NULL AS agreement
FROM requests;
