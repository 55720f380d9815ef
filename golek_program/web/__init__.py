"""How is an application served over HTTP?"""
