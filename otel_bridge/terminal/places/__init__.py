"""What one can be at in ``otel-bridge top``: each place shows views of a feed as one page."""
