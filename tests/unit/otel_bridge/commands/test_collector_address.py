"""The collector's address that ``tail`` and ``submit`` use by themselves."""

from __future__ import annotations

import pytest

from otel_bridge.commands.collector_address import collector_url, display_host, split_url
from otel_bridge.errors import ConfigurationError

HTTP = ("http", "https")
NAMES = ("MONITORING_BUS_URL", "MONITORING_HOST", "MONITORING_PORT")


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "http://127.0.0.1:12000"),
        ({"MONITORING_PORT": "13000"}, "http://127.0.0.1:13000"),
        ({"MONITORING_HOST": "0.0.0.0", "MONITORING_PORT": "13000"}, "http://127.0.0.1:13000"),
        ({"MONITORING_HOST": "monitor.example.org"}, "http://monitor.example.org:12000"),
        ({"MONITORING_HOST": "::1"}, "http://[::1]:12000"),
        ({"MONITORING_BUS_URL": "https://h/x", "MONITORING_PORT": "1"}, "https://h/x"),
        (
            {"MONITORING_BUS_URL": "redis://h/0", "MONITORING_PORT": "13000"},
            "http://127.0.0.1:13000",
        ),
        (dict.fromkeys(NAMES, ""), "http://127.0.0.1:12000"),
        ({"MONITORING_PORT": "tcp://10.0.0.1:12000"}, "http://127.0.0.1:12000"),
        ({"MONITORING_PORT": "70000"}, "http://127.0.0.1:12000"),
        ({"MONITORING_PORT": "²"}, "http://127.0.0.1:12000"),
    ],
)
def test_the_address_of_an_environment(
    environment: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ``http`` bus names the collector, else its host and port do; what is empty is unset."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert collector_url() == url


def test_hosts_in_addresses() -> None:
    """An address to listen on everywhere is reached by loopback, and IPv6 has brackets."""
    hosts = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "fe80::1": "[fe80::1]", "a.b": "a.b"}
    assert {host: display_host(host) for host in hosts} == hosts


def test_a_valid_address_has_parts() -> None:
    """Host and port are those of the URL."""
    parts = split_url("https://h:1/x", HTTP)
    assert (parts.scheme, parts.hostname, parts.port, parts.path) == ("https", "h", 1, "/x")


@pytest.mark.parametrize(
    "url", ["ws://h", "h:1", "http://", "http://h:0", "http://h:x", "http://a..b", ""]
)
def test_an_invalid_address_is_an_error(url: str) -> None:
    """Another scheme, no host and a port that is none are refused with an example."""
    with pytest.raises(ConfigurationError, match="not a collector's address; use http"):
        split_url(url, HTTP)


def test_a_password_in_an_invalid_address_is_not_shown() -> None:
    """The error has no part of user and password."""
    with pytest.raises(ConfigurationError) as e:
        split_url("ftp://me:hunter2@h", HTTP)
    assert "hunter2" not in str(e.value)
