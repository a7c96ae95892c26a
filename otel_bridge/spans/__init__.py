"""The context managers for research tasks, phases, jobs and workers, and their spans."""
