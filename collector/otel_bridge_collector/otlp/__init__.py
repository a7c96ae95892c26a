"""OTLP in: requests are decoded, mapped to events and appended to the log."""
