-- name: insert_request
-- The worker's id, then the fields of RequestRow in their order.
INSERT INTO requests (
    worker_id, ts, req_id, job_id, kind, principal, status, raw_input, formatted_input, output, input_sha256,
    tokens_in, tokens_out, finish_reason, dur_ms, ttft_ms, queue_ms, attempt, stream, seed, error, adapter, texts,
    tokens_cached, waited_ms, prefill_ms, decode_ms, trace_id, asked, target, cost_usd, cache, parent,
    costs, step, orchestration
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_event
INSERT INTO events (worker_id, ts, level, code, msg) VALUES (?, ?, ?, ?, ?);

-- name: delete_old_requests
-- A piece at a time, so that other replicas' writes get in between.
DELETE FROM requests WHERE id IN (SELECT id FROM requests WHERE ts < ?1 ORDER BY ts LIMIT 2000) RETURNING 1;

-- name: delete_old_events
DELETE FROM events WHERE id IN (SELECT id FROM events WHERE ts < ?1 ORDER BY ts LIMIT 2000) RETURNING 1;

-- name: recent_requests
-- ?1 how many, ?2 one worker's id or NULL for all.
SELECT * FROM requests WHERE ?2 IS NULL OR worker_id = ?2 ORDER BY ts DESC, id DESC LIMIT ?1;

-- name: recent_events
SELECT * FROM events WHERE ?2 IS NULL OR worker_id = ?2 ORDER BY ts DESC, id DESC LIMIT ?1;
