"""Which answers are kept, under which key, and for how long?"""
