"""One file for each step, in order of its number."""
