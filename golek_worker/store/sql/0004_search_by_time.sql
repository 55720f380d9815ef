-- Who looks for a request by its id, its status or its time reads this index alone, newest first, and no texts. In the
-- order of time, because ids are random: indexes of theirs write five times as much (docs/decisions/0045).
DROP INDEX requests_ts;
CREATE INDEX requests_ts ON requests (ts, job_id, req_id, status, dur_ms);
