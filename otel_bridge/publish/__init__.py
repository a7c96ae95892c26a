"""Events reach the log, and the caller never waits for it."""
