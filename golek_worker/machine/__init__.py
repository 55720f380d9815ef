"""What runs on this machine, and how is it started, stopped, checked and shown?"""
