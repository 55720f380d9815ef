-- How several models answered together; NULL where one did.
ALTER TABLE requests ADD COLUMN step TEXT;          -- of a step: what it was for, as name/round
ALTER TABLE requests ADD COLUMN orchestration TEXT; -- of the whole: how it came about, as JSON without texts
