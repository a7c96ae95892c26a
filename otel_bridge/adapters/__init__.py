"""One adapter for each task framework: its jobs, retries, workers and queues become visible."""
