"""A span becomes an event: by its attributes, by rules for other libraries, by inheritance."""
