"""The spans that say what work is: context managers for tasks, phases, jobs and workers."""
