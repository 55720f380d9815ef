"""Who answers a request, and who does when that one cannot?"""
