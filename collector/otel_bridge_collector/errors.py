"""``CollectorError``: the base class of the collector's errors."""

from __future__ import annotations

__all__ = ["CollectorError"]


class CollectorError(Exception):
    """Base class of the errors that the collector raises on purpose."""
