"""Collectors that share the fold: who holds which part of the state, and how it is filled."""
