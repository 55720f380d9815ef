"""The request logs of this machine, read beside the workers that write them: search, and one request's whole story."""
