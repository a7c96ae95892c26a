"""HTTP and WebSocket routes: parse, check, call, answer."""
