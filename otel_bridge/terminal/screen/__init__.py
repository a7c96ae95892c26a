"""The Textual program of ``otel-bridge top``: its keys, its lines and its drawing."""
