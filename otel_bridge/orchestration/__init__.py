"""The reference coordinator: real, small, on Redis; a team replaces the handlers or all of it."""
