"""Instruments a user's own coordinator without a change to its code."""
