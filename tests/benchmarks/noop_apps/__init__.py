"""One application of no-op jobs for each task framework, watched if ``NOOP_WATCHED`` is set."""
