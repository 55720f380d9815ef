"""The fleet as people and programs watch it: in a terminal, on a page, as figures, as alerts."""
