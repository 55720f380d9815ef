"""Ask a Golek fleet from Python: `from golek_client import Golek`. Needs only nats-py and msgspec."""
