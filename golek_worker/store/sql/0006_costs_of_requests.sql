-- Where the money of a job went, also when another target answered it; NULL where nothing had a price.
ALTER TABLE requests ADD COLUMN costs TEXT;    -- dollars by target, as JSON; cost_usd is their sum
CREATE INDEX requests_by_asked ON requests (asked) WHERE asked IS NOT NULL; -- a router's rows by the name asked for
