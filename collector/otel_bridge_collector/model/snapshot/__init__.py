"""The model as the snapshot that a dashboard starts from, and as the header's numbers."""
