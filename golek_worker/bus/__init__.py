"""The worker's side of NATS: ingress, leases, replies, signals, and the broker itself when it runs on this machine."""
