"""CPU time of a Redis server's main thread, which is what one Redis can carry."""

from __future__ import annotations

from typing import Any

__all__ = ["main_thread_sec"]


def main_thread_sec(client: Any) -> float:
    """
    Seconds since the server's start; those of all threads before Redis 7, which has one that works.

    Args:
        client: A synchronous redis-py client of the server.
    """
    found = client.info("cpu")
    part = "_main_thread" if "used_cpu_user_main_thread" in found else ""
    return float(found[f"used_cpu_user{part}"] + found[f"used_cpu_sys{part}"])
