"""How an event about work changes its node, and the job that the node belongs to."""
