"""RQ: its jobs, workers and queues, by wrapping methods of ``Queue``, ``Job`` and the workers."""

from __future__ import annotations

from otel_bridge.adapters.rq.adapter import RqAdapter

__all__ = ["RqAdapter"]
