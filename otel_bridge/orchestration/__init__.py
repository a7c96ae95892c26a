"""The reference coordinator: a small, real queue and research task on Redis."""
