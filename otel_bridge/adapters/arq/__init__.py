"""
arq: call ``ArqAdapter().instrument()`` where jobs are enqueued and where the worker starts.

Source: arq 0.25 to 0.28.
"""

from otel_bridge.adapters.arq.adapter import ArqAdapter

__all__ = ["ArqAdapter"]
