"""A coordinator of the user's own, made visible without a change to it."""
