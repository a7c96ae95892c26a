"""The page's views in a terminal: ``otel-bridge top``, and ``submit --follow``."""
