"""Bytes to clients: the ring of recent events, resume, fan-out, frames."""
