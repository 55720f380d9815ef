"""Which flows are there, and how does each of them go?"""
