"""Bytes to clients: the ring of recent events, resuming, fan-out and WebSocket frames."""
