"""The browser, for the interop tests."""

from __future__ import annotations

from tests.support.chromium import browser

__all__ = ["browser"]
