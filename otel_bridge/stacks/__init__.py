"""The stack of a failure: captured in microseconds, then a bounded, masked text and its key."""
