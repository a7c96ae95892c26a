"""What needs attention: stuck queues, lost workers, jobs that take far longer than others."""
