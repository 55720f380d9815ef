-- The trace that the caller, or a tracing gateway or worker, put the request into (W3C); NULL without one.
ALTER TABLE requests ADD COLUMN trace_id TEXT;
