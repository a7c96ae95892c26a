"""The reading end of a log with several shards: their entries, merged into one order."""
