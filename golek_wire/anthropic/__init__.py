"""Anthropic's JSON over HTTP, and what it is on the bus: requests one way, replies and streams the other.

Pure functions and structs: whoever speaks HTTP brings bytes and carries bytes away.
"""
