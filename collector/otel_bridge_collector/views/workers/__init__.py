"""Views of what executes jobs and where jobs wait: workers, what one of them runs, and queues."""
