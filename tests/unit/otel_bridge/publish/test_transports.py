"""Which transport a bus URL gets, and the error of one that has none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from otel_bridge.errors import ConfigurationError, UnknownTransportError
from otel_bridge.publish.redis_clients import REDIS_SCHEMES
from otel_bridge.publish.transports import (
    KNOWN_SCHEMES,
    check_scheme,
    open_receiver,
    open_sender,
)
from otel_bridge.publish.transports.base import Outgoing
from otel_bridge.publish.transports.http import HttpSender
from otel_bridge.publish.transports.memory import MemoryReceiver, MemorySender, memory_log
from otel_bridge.publish.transports.redis import RedisSender
from otel_bridge.publish.transports.sharded.log_receiver import RedisLogReceiver
from otel_bridge.settings import BridgeSettings

MakeSettings = Callable[..., BridgeSettings]

URLS = {
    "memory": "memory://transports",
    "http": "http://127.0.0.1:1",
    "https": "https://127.0.0.1:1/base",
    "redis": "redis://127.0.0.1:1/0",
    "rediss": "rediss://127.0.0.1:1",
    "unix": "unix:///no/such/socket",
    "valkey": "valkey://127.0.0.1:1/0",
    "valkeys": "valkeys://127.0.0.1:1",
    "valkey+sentinel": "valkey+sentinel://127.0.0.1:1/service",
    "valkeys+sentinel": "valkeys+sentinel://127.0.0.1:1/service",
    "valkey+cluster": "valkey+cluster://127.0.0.1:1",
    "valkeys+cluster": "valkeys+cluster://127.0.0.1:1",
    "redis+sentinel": "redis+sentinel://127.0.0.1:1/service",
    "rediss+sentinel": "rediss+sentinel://127.0.0.1:1/service",
    "redis+cluster": "redis+cluster://127.0.0.1:1",
    "rediss+cluster": "rediss+cluster://127.0.0.1:1",
}


def test_every_known_scheme_is_tested_here() -> None:
    """The known schemes are those of the URLs below, and every Redis URL is a bus URL."""
    assert set(KNOWN_SCHEMES) == set(URLS)
    assert set(REDIS_SCHEMES) <= set(KNOWN_SCHEMES)


@pytest.mark.parametrize("scheme", KNOWN_SCHEMES)
def test_a_scheme_has_its_sender(scheme: str, make_settings: MakeSettings) -> None:
    """Each scheme opens the sender of its transport, without connecting."""
    kinds = {"memory": MemorySender, "http": HttpSender, "https": HttpSender}
    sender = open_sender(URLS[scheme], make_settings())
    assert type(sender) is kinds.get(scheme, RedisSender)
    sender.close()


@pytest.mark.parametrize("scheme", [name for name in KNOWN_SCHEMES if "http" not in name])
async def test_a_scheme_has_its_receiver(scheme: str, make_settings: MakeSettings) -> None:
    """Each scheme that can be read opens the receiver of its transport, without connecting."""
    receiver = open_receiver(URLS[scheme], make_settings())
    assert type(receiver) is (MemoryReceiver if scheme == "memory" else RedisLogReceiver)
    await receiver.close()


async def test_both_ends_of_a_memory_url_share_one_log(make_settings: MakeSettings) -> None:
    """Sender and receiver of one name use one log; the path of the URL is not part of the name."""
    settings = make_settings(stream_max_events=1234)
    open_sender("memory://shared-by-both", settings).send("p", 1, [Outgoing(b"{}", None)])
    receiver = open_receiver("memory://shared-by-both/ignored", settings)
    (entry,) = await receiver.read_back(10)
    log = memory_log("shared-by-both")
    assert (entry.position, log.max_events) == (log.last_position(), 1234)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_http_cannot_be_read(scheme: str, make_settings: MakeSettings) -> None:
    """A receiver for HTTP is an error that names the setting and what to set instead."""
    settings = make_settings(bus_url=URLS[scheme])
    with pytest.raises(ConfigurationError) as raised:
        open_receiver(URLS[scheme], settings)
    assert str(raised.value) == (
        f"MONITORING_BUS_URL is an {scheme}:// URL, which can only be sent to; "
        "set the redis:// or memory:// URL of the log that the collector reads"
    )


@pytest.mark.parametrize("opener", [open_sender, open_receiver])
@pytest.mark.parametrize(
    ("url", "scheme"),
    [("kafka://h", "kafka"), ("Redis://h", "Redis"), ("hunter2", ""), ("", ""), ("http:/h", "")],
)
def test_an_unknown_scheme_is_named(
    opener: Callable[[str, BridgeSettings], object],
    url: str,
    scheme: str,
    make_settings: MakeSettings,
) -> None:
    """The error has the scheme, the known ones and the setting, but no text without a scheme."""
    with pytest.raises(UnknownTransportError) as raised:
        opener(url, make_settings(bus_url="memory://x"))
    assert (raised.value.scheme, raised.value.known) == (scheme, KNOWN_SCHEMES)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("redis_url", "setting"), [("ftp://h", "REDIS_URL"), (None, "MONITORING_BUS_URL")]
)
def test_the_setting_that_holds_the_url_is_named(
    redis_url: str | None, setting: str, make_settings: MakeSettings
) -> None:
    """A bus URL that was taken from ``REDIS_URL`` is reported under that name."""
    with pytest.raises(UnknownTransportError) as raised:
        check_scheme("ftp://h", make_settings(redis_url=redis_url))
    assert raised.value.setting == setting


def test_a_known_scheme_is_returned(make_settings: MakeSettings) -> None:
    """Of a URL that no parser accepts the scheme is still found."""
    assert check_scheme("redis://[hunter2", make_settings()) == "redis"
