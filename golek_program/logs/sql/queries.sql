-- name: told
-- What is told of a request to who may not see its texts.
CREATE TEMP VIEW told AS SELECT
    id, ts, req_id, job_id, worker_id, kind, principal, status, tokens_in, tokens_out, tokens_cached, tokens_per_s,
    finish_reason, dur_ms, ttft_ms, queue_ms, waited_ms, prefill_ms, decode_ms, attempt, stream, seed, adapter, texts,
    error, input_sha256, trace_id, asked, target, cost_usd, cache, parent, step, mode,
    rounds, agreement,
    length(raw_input) AS input_chars, length(formatted_input) AS prompt_chars, length(output) AS output_chars
FROM rows;

-- name: search
-- The newest first. A parameter that is NULL asks for nothing; :before_ts and :before_id are where the last page ended.
-- What a text costs to read is left out by `id IN`: its rows are read once they are chosen.
SELECT * FROM told WHERE id IN (
    SELECT id FROM requests
    WHERE ts >= :since AND ts <= :until AND (ts, id) < (:before_ts, :before_id)
        AND (:job_id IS NULL OR job_id = :job_id)
        AND (:req_id IS NULL OR instr(lower(req_id), lower(:req_id)) > 0)
        AND (:status IS NULL OR status = :status)
        AND (NOT :errors_only OR status <> 'ok')
        AND (:slower_ms IS NULL OR dur_ms >= :slower_ms)
        AND (:worker_id IS NULL OR worker_id = :worker_id)
        AND (:kind IS NULL OR kind = :kind)
        AND (:principal IS NULL OR principal = :principal)
        AND (:asked IS NULL OR id IN (SELECT id FROM rows WHERE asked = :asked))
    ORDER BY ts DESC, id DESC LIMIT :limit
) ORDER BY ts DESC, id DESC;

-- name: by_id
-- The rows whose job or label is exactly this, the newest first.
SELECT * FROM told WHERE id IN (
    SELECT id FROM requests WHERE job_id = :id OR req_id = :id ORDER BY ts DESC, id DESC LIMIT :limit
) ORDER BY ts DESC, id DESC;

-- name: by_begin
-- The same of those that begin so.
SELECT * FROM told WHERE id IN (
    SELECT id FROM requests
    WHERE substr(job_id, 1, length(:id)) = :id OR substr(req_id, 1, length(:id)) = :id
    ORDER BY ts DESC, id DESC LIMIT :limit
) ORDER BY ts DESC, id DESC;

-- name: steps
-- The rows of jobs that were steps of this one, within the time in which it ran; the newest last.
SELECT * FROM told WHERE ts >= :since AND ts <= :until AND parent = :id ORDER BY ts, id LIMIT :limit;

-- name: texts
SELECT raw_input, formatted_input, output FROM rows WHERE id = :id;

-- name: events
-- What happened to the model's workers between two moments, oldest first.
SELECT ts, worker_id, level, code, msg FROM events
WHERE ts >= :since AND ts <= :until ORDER BY ts, id LIMIT :limit;

-- name: oldest
SELECT min(ts) AS ts FROM requests;

-- name: figures
-- One row per request of a window; the newest, where there are too many.
SELECT status, dur_ms, ttft_ms, tokens_in, tokens_out FROM requests
WHERE ts >= :since AND ts <= :until ORDER BY ts DESC LIMIT :limit;
