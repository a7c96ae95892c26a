"""
The queue's exceptions: those that a job's handler raises on purpose, and ``SharedQueueError``.

The coordinator treats every other exception of a handler as temporary: it retries the job until its
``max_retries`` are used up.
"""

from __future__ import annotations

from otel_bridge.errors import ConfigurationError, OtelBridgeError

__all__ = ["PageBrokenError", "PermanentJobError", "SharedQueueError"]


class PermanentJobError(OtelBridgeError):
    """Raised by a job's handler when a retry cannot help: the job fails at once, for good."""


class PageBrokenError(OtelBridgeError):
    """
    Raised by an extraction that reads a damaged page strictly.

    The job is retried, and its second attempt reads the page leniently, which may succeed.

    Args:
        page_id: Id of the page; kept as an attribute, as is ``problem``.
        problem: What is wrong with it.
    """

    def __init__(self, page_id: str, problem: str) -> None:
        super().__init__(page_id, problem)
        self.page_id = page_id
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.page_id}: {self.problem}"


class SharedQueueError(ConfigurationError):
    """
    Raised when a queue holds an item of another program, such as a coordinator of the user's own.

    Both then use the same names in one Redis. The item was neither taken nor changed. The arguments
    are kept as attributes of the same names and are not checked. It can be pickled.

    Args:
        queue: Full name of the queue, or of another key that another program writes.
        item: The item, shortened to 80 characters on one line.
    """

    def __init__(self, queue: str, item: str) -> None:
        self.queue = queue
        self.item = item
        super().__init__(
            f"{queue} holds an item of another program, which was left there: {item}",
            "set MONITORING_KEY_PREFIX to a name of this application's own, the same for its "
            "workers, submitters and collector",
        )

    def __reduce__(self) -> tuple[type[SharedQueueError], tuple[str, str]]:
        # The default would call the constructor with ``args``, which holds problem and cure.
        return type(self), (self.queue, self.item)
