"""
Exceptions that a job's handler raises on purpose.

The coordinator treats every other exception as temporary: it retries the job until its
``max_retries`` are used up.
"""

from __future__ import annotations

from otel_bridge.errors import OtelBridgeError

__all__ = ["PageBrokenError", "PermanentJobError"]


class PermanentJobError(OtelBridgeError):
    """Raised when a retry cannot help; the job fails at once."""


class PageBrokenError(OtelBridgeError):
    """
    Raised when a damaged page is read strictly; a lenient attempt may succeed.

    Args:
        page_id: The page.
        problem: What is wrong with it.
    """

    def __init__(self, page_id: str, problem: str) -> None:
        super().__init__(page_id, problem)
        self.page_id = page_id
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.page_id}: {self.problem}"
