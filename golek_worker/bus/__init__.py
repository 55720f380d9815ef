"""The bus path: from a request on its subject to a leased job, and back to the caller's inbox."""
