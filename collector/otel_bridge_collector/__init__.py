"""The collector: reads the log once, keeps live state, serves it to dashboard and programs."""
