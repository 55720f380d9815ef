"""Servers that speak OpenAI's API as engines. `engine` is the adapter, `dialects` what each of them has of its own."""
