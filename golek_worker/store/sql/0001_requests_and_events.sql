-- One row per answered job. Bodies are NULL when GOLEK_AUDIT_BODY says hash or none.
CREATE TABLE requests (
    id              INTEGER PRIMARY KEY,
    ts              REAL    NOT NULL,  -- end of the job, seconds since 1970
    req_id          TEXT    NOT NULL,  -- the caller's label, not unique
    job_id          TEXT    NOT NULL,
    worker_id       TEXT    NOT NULL,
    kind            TEXT    NOT NULL,  -- inference, embedding, …
    principal       TEXT    NOT NULL,
    status          TEXT    NOT NULL,  -- ok, or the error code as it travelled: TIMEOUT, CANCELLED, …; what was refused before it was queued has no row
    raw_input       TEXT,              -- what the caller sent
    formatted_input TEXT,              -- what the model read, after the template
    output          TEXT,
    input_sha256    TEXT,
    tokens_in       INTEGER NOT NULL,
    tokens_out      INTEGER NOT NULL,
    finish_reason   TEXT,
    dur_ms          REAL    NOT NULL,  -- lease to last token
    ttft_ms         REAL,              -- lease to first token
    queue_ms        REAL,              -- acceptance to lease
    attempt         INTEGER NOT NULL,
    stream          INTEGER NOT NULL,
    seed            INTEGER,
    error           TEXT               -- for people
);
CREATE INDEX requests_ts ON requests (ts);

-- What happened to a worker: startup, model.loaded, engine.crashed, …
CREATE TABLE events (
    id        INTEGER PRIMARY KEY,
    ts        REAL NOT NULL,
    worker_id TEXT NOT NULL,
    level     TEXT NOT NULL,
    code      TEXT NOT NULL,
    msg       TEXT NOT NULL
);
CREATE INDEX events_ts ON events (ts);
