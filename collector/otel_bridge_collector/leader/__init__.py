"""What one collector does for all: statistics and stalled jobs."""
