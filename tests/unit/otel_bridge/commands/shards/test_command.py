"""
``otel_bridge.commands.shards.command``: its argument, and what it refuses before it connects.

What it does to a real Redis is in ``tests/integration/test_resharding.py``.
"""

from __future__ import annotations

import argparse

import pytest

from otel_bridge.commands.command_line import main
from otel_bridge.commands.shards.command import shard_count


def test_the_number_of_shards_has_bounds() -> None:
    """From 1 to 8; anything else is a wrong argument."""
    assert [shard_count(text) for text in ("1", "8")] == [1, 8]
    for text in ("0", "9", "-1"):
        with pytest.raises(argparse.ArgumentTypeError, match="is not between 1 and 8"):
            shard_count(text)
    with pytest.raises(ValueError, match="invalid literal"):
        shard_count("two")


def test_a_number_out_of_range_ends_with_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    """As every wrong argument does, with the bounds in the message."""
    with pytest.raises(SystemExit) as raised:
        main(["shards", "9"])
    assert raised.value.code == 2
    assert "argument N: 9 is not between 1 and 8" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["http://collector:12000", "memory://log"])
def test_a_log_outside_of_redis_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command needs the Redis itself: the message names the settings, and the code is 2."""
    monkeypatch.setenv("MONITORING_BUS_URL", url)
    assert main(["shards"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"otel-bridge: {url} is no Redis")
    assert "set REDIS_URL or MONITORING_BUS_URL" in error
