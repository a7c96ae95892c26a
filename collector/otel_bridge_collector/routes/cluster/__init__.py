"""Routes for the other collectors of a cluster."""
