"""Log lines of Python's ``logging``, kept beside the job, phase or task that wrote them."""
