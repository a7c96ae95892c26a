"""One adapter a task framework: its jobs, retries, workers and queues become visible."""
