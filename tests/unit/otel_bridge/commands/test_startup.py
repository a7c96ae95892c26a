"""First steps of the commands: signals, directories, Redis."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from otel_bridge.commands.startup import (
    check_directories,
    no_queues_error,
    open_redis,
    stop_on_signals,
)
from otel_bridge.errors import ConfigurationError
from otel_bridge.settings import BridgeSettings

MakeSettings = Callable[..., BridgeSettings]


STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.mark.parametrize("number", STOPPING)
async def test_a_signal_sets_the_event(number: signal.Signals) -> None:
    """SIGINT, SIGTERM and SIGHUP stop a command in order instead of ending the process."""
    stop = stop_on_signals()
    assert not stop.is_set()
    os.kill(os.getpid(), number)
    async with asyncio.timeout(5):
        await stop.wait()
    for each in STOPPING:
        asyncio.get_running_loop().remove_signal_handler(each)


async def test_a_second_signal_sets_another_event() -> None:
    """It is for a command that waits for others when it stops; of any of the three kinds."""
    again = asyncio.Event()
    stop = stop_on_signals(again)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(5):
        await stop.wait()
    assert not again.is_set()
    os.kill(os.getpid(), signal.SIGINT)
    async with asyncio.timeout(5):
        await again.wait()
    for each in STOPPING:
        asyncio.get_running_loop().remove_signal_handler(each)


async def test_nohup_stays_in_force() -> None:
    """A process that was started with SIGHUP ignored outlives its terminal."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop_on_signals()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        for each in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(each)


def test_directories_that_will_do(tmp_path: Path, make_settings: MakeSettings) -> None:
    """A data directory that does not exist yet will be created below one that can be written."""
    settings = make_settings(corpus_dir=tmp_path, data_dir=tmp_path / "new" / "data")
    check_directories(settings, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_below_a_file_is_an_error(tmp_path: Path, make_settings: MakeSettings) -> None:
    """Results that could not be written are reported before the work; without workers never."""
    (tmp_path / "file").touch()
    settings = make_settings(data_dir=tmp_path / "file" / "data")
    with pytest.raises(ConfigurationError, match=r"results cannot be written to .*file/data; name"):
        check_directories(settings, workers=1)
    check_directories(settings, workers=0)


def test_a_corpus_must_be_a_directory(tmp_path: Path, make_settings: MakeSettings) -> None:
    """A corpus that is no directory is named, also without workers."""
    settings = make_settings(corpus_dir=tmp_path / "nowhere", data_dir=tmp_path)
    with pytest.raises(ConfigurationError, match="nowhere is not a directory; name a directory"):
        check_directories(settings, workers=0)


async def test_without_a_redis_an_embedded_one_is_opened(make_settings: MakeSettings) -> None:
    """The embedded Redis answers, decodes, and holds nothing of an earlier one."""
    async with open_redis(make_settings()) as client:
        assert client is not None
        await client.set("a", "b")
        assert await client.get("a") == "b"
    async with open_redis(make_settings()) as client:
        assert client is not None
        assert await client.get("a") is None


async def test_without_fakeredis_there_are_no_queues(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None says that there is no coordinator; the error about it says what to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    async with open_redis(make_settings()) as client:
        assert client is None
    assert str(no_queues_error(make_settings())) == (
        "running without REDIS_URL needs fakeredis; "
        "pip install 'otel-bridge[demo]', or set REDIS_URL"
    )


async def test_an_unreachable_redis_is_named_without_its_password(
    make_settings: MakeSettings,
) -> None:
    """A port on which nothing listens is an error within the timeout."""
    settings = make_settings(redis_url="redis://:hunter2@127.0.0.1:9/0")
    with pytest.raises(ConfigurationError, match=r"redis://127\.0\.0\.1:9/0 does not answer") as e:
        async with open_redis(settings):
            pass
    assert "hunter2" not in str(e.value)


def test_a_cluster_has_no_queues(make_settings: MakeSettings) -> None:
    """The error about a Cluster names it without its password and says what to set."""
    line = str(no_queues_error(make_settings(redis_url="redis://:hunter2@h:7000/0?cluster=true")))
    assert line.startswith("REDIS_URL=redis://h:7000/0")
    assert "name the Cluster in MONITORING_BUS_URL and a single Redis in REDIS_URL" in line
    assert "hunter2" not in line
