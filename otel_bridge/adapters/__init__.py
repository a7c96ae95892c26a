"""One adapter for each task framework: it shows jobs, retries, workers and queues."""
