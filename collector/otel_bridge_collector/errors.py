"""The base of the collector's own errors."""

from __future__ import annotations

__all__ = ["CollectorError"]


class CollectorError(Exception):
    """Base of every error raised on purpose by the collector."""
