-- name: insert_requests
-- ?1 a JSON array of rows in the order of RequestRow's fields, ?2 the worker's id. One statement for a whole batch:
-- it is one transaction, and Python's lock is released once for all rows instead of once for each.
INSERT INTO requests (
    worker_id, ts, req_id, job_id, kind, principal, status, raw_input, formatted_input, output, input_sha256,
    tokens_in, tokens_out, finish_reason, dur_ms, ttft_ms, queue_ms, attempt, stream, seed, error
)
SELECT
    ?2,
    json_extract(value, '$[0]'),
    json_extract(value, '$[1]'),
    json_extract(value, '$[2]'),
    json_extract(value, '$[3]'),
    json_extract(value, '$[4]'),
    json_extract(value, '$[5]'),
    json_extract(value, '$[6]'),
    json_extract(value, '$[7]'),
    json_extract(value, '$[8]'),
    json_extract(value, '$[9]'),
    json_extract(value, '$[10]'),
    json_extract(value, '$[11]'),
    json_extract(value, '$[12]'),
    json_extract(value, '$[13]'),
    json_extract(value, '$[14]'),
    json_extract(value, '$[15]'),
    json_extract(value, '$[16]'),
    json_extract(value, '$[17]'),
    json_extract(value, '$[18]'),
    json_extract(value, '$[19]')
FROM json_each(CAST(?1 AS TEXT));

-- name: insert_events
-- ?1 a JSON array of [ts, level, code, msg], ?2 the worker's id.
INSERT INTO events (worker_id, ts, level, code, msg)
SELECT
    ?2,
    json_extract(value, '$[0]'),
    json_extract(value, '$[1]'),
    json_extract(value, '$[2]'),
    json_extract(value, '$[3]')
FROM json_each(CAST(?1 AS TEXT));

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
