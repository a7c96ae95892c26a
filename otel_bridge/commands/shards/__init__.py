"""``otel-bridge shards``: shows the shards of the log, and gives it another number of them."""
