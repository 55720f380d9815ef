"""`golek serve`: broker, workers and gateway as the children of one command."""
