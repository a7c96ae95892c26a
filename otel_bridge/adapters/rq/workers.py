"""``worker_id_of``: the id under which an RQ worker is shown."""

from __future__ import annotations

import os
import re
import socket
from typing import Any, Final

from otel_bridge.spans.span_context_manager import safe_str

__all__ = ["worker_id_of"]

_RANDOM: Final = re.compile("[0-9a-f]{32}")


def worker_id_of(worker: Any) -> str:
    """
    Return the id under which an RQ worker is shown: ``name@host``, or ``host:pid`` without a name.

    RQ names a worker by 32 random digits unless its user does. The host is part of the id, because
    two hosts may have a worker of one name; a name that has it already is left as it is. The same
    in the worker and in its work-horses. Never raises.

    Args:
        worker: The worker, or RQ's copy of it in a work-horse.
    """
    host = safe_str(getattr(worker, "hostname", None) or socket.gethostname())
    name = safe_str(worker.name)
    if _RANDOM.fullmatch(name):
        return f"{host}:{getattr(worker, 'pid', None) or os.getpid()}"
    return name if host in name else f"{name}@{host}"
