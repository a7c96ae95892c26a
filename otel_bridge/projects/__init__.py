"""The project that a research task belongs to: looked up once and remembered."""
