"""Log lines beside the spans: read for those who look, taken from senders, limited and trimmed."""
