"""Questions with answers that can be checked, asked of one model and of several together, and what came of it."""
