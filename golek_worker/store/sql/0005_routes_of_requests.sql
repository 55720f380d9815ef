-- How a router had a job answered, and what that cost; NULL where none did, and in rows of older versions.
ALTER TABLE requests ADD COLUMN asked TEXT;    -- the model that was asked for, where it is not the log's own
ALTER TABLE requests ADD COLUMN target TEXT;   -- who answered: local:<model>, or <provider>:<model>
ALTER TABLE requests ADD COLUMN cost_usd REAL; -- what clouds took for it, all its steps together
ALTER TABLE requests ADD COLUMN cache TEXT;    -- hit, miss or bypass, where a cache was asked for
ALTER TABLE requests ADD COLUMN parent TEXT;   -- the job that it was a step of
