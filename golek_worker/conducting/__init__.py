"""What stands around the steps by which several models answer one request together?"""
