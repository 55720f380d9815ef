"""The contract of Golek: subjects, headers, messages and errors, as they travel on the bus.

Only msgspec and the standard library; no I/O, no asyncio. Clients, workers and monitors all import this
package, and nothing here imports them.
"""
