"""The router with the clouds beside it."""
