"""
Exceptions that a job's handler raises on purpose.

The coordinator treats every other exception as temporary: it retries the job until its
``max_retries`` are used up.
"""

from __future__ import annotations

from otel_bridge.errors import OtelBridgeError

__all__ = ["PageBrokenError", "PermanentJobError"]


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
