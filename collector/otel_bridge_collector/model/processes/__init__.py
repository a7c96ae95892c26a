"""Processes that run work: what is known of each, and whether it still lives."""
