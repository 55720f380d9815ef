"""Which file does a model come from?"""
