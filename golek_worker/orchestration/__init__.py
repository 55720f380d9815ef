"""How do several models answer one request together?"""
