"""OTLP in: decoded, mapped to events, appended to the log."""
