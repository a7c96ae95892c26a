"""HTTP and WebSocket routes: each reads a request, calls the service and answers."""
