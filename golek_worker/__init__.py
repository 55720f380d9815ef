"""One process that serves one model: ingress, leases, engine, replies, log, signals."""
