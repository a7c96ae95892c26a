"""The id under which an RQ worker is shown."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from otel_bridge.adapters.rq.workers import worker_id_of


@pytest.mark.parametrize(
    ("name", "shown"),
    [("0" * 32, "a:7"), ("w", "w@a"), ("a.7", "a.7"), ("w@a", "w@a"), ("0" * 31, f"{'0' * 31}@a")],
)
def test_the_id_names_the_host(name: str, shown: str) -> None:
    """A user's name with the host, or the host and the process where RQ made up a name."""
    assert worker_id_of(SimpleNamespace(name=name, hostname="a", pid=7)) == shown


def test_two_hosts_with_one_name_are_two() -> None:
    """Workers of one name on two hosts have two ids."""
    ids = {worker_id_of(SimpleNamespace(name="w", hostname=host, pid=1)) for host in ("x", "y")}
    assert len(ids) == 2
