"""``open_files``: the soft limit becomes the hard one, and one that is too low is said."""

from __future__ import annotations

import subprocess
import sys

import pytest

resource = pytest.importorskip("resource")

SCRIPT = """
import logging, resource, sys
from otel_bridge_collector.commands.open_files import raise_open_files
logging.basicConfig(format="%(message)s", stream=sys.stdout)
soft, hard, connections = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(raise_open_files(connections), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def limits_after(soft: int, hard: int, connections: int) -> list[str]:
    """What a process of its own prints, whose limits these are: they cannot be raised again."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(soft), str(hard), str(connections)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.splitlines()


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    """Where that is enough nothing is said."""
    assert limits_after(256, 800, 500) == ["800 800"]


def test_a_limit_that_is_too_low_is_said_in_one_line() -> None:
    """It names the number, the setting and the cure."""
    line, numbers = limits_after(256, 512, 500)
    assert numbers == "512 512"
    assert line.startswith("this process may open 512 files, too few for 500 WebSockets")
    assert "MONITORING_ADDRESS_MAX_CONNECTIONS" in line
    assert "LimitNOFILE" in line
