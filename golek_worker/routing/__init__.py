"""How does a router have requests answered: by which of its rules, over the bus, or by a cloud?"""
