"""A request log, as it is read: by the worker that writes it, for others, and by the monitor of its machine."""
