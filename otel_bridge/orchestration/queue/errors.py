"""
What a handler raises on purpose, and how the coordinator takes it.

Anything else that leaves a handler is taken as a failure that may pass: the job is tried again
until its retries are used up.
"""

from __future__ import annotations

from otel_bridge.errors import OtelBridgeError

__all__ = ["PageBrokenError", "PermanentJobError"]


class PermanentJobError(OtelBridgeError):
    """Raised when trying again cannot help: the job fails at once."""


class PageBrokenError(OtelBridgeError):
    """
    Raised by a strict reading of a page whose structure is damaged; a lenient one may succeed.

    Args:
        page_id: Which page.
        problem: What is wrong with it.
    """

    def __init__(self, page_id: str, problem: str) -> None:
        super().__init__(page_id, problem)
        self.page_id = page_id
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.page_id}: {self.problem}"
