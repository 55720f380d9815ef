"""The request log: one SQLite file per model, written beside the serving, read by `make logs` and sqlite3."""
