-- What the engine measured of a job; NULL where it measured nothing, and in rows of older versions.
ALTER TABLE requests ADD COLUMN adapter TEXT;          -- the LoRA adapter that was asked for
ALTER TABLE requests ADD COLUMN texts INTEGER;         -- how many were written: n, or best_of
ALTER TABLE requests ADD COLUMN tokens_cached INTEGER; -- of tokens_in: found in the KV cache
ALTER TABLE requests ADD COLUMN waited_ms REAL;        -- for a slot in the engine
ALTER TABLE requests ADD COLUMN prefill_ms REAL;       -- slot to first token
ALTER TABLE requests ADD COLUMN decode_ms REAL;        -- first token to last
-- Of all texts together, the first token of each left out: it came with the prompt.
ALTER TABLE requests ADD COLUMN tokens_per_s REAL GENERATED ALWAYS AS (
    CASE WHEN tokens_out > texts AND decode_ms > 0 THEN (tokens_out - texts) * 1000.0 / decode_ms END
) VIRTUAL;
