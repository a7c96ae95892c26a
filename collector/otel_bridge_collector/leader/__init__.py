"""What one collector does for all: statistics, stalled jobs, external events."""
