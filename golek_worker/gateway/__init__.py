"""The fleet over HTTP: one application, served by the gateway for the fleet and by a worker for its model."""
