"""What was said before, for requests with a `session_id`."""
