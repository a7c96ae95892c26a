"""The collector's settings: defaults, bounds, and errors that name the variable and the cure."""

from __future__ import annotations

from pathlib import Path

import pytest
from otel_bridge_collector.settings import CollectorSettings

from otel_bridge.errors import ConfigurationError
from otel_bridge.settings import COLLECTOR_NAMES


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in COLLECTOR_NAMES:
        monkeypatch.delenv(name, raising=False)


def test_the_service_listens_on_loopback_port_12000() -> None:
    """Without any setting only this machine can connect, and no token is needed."""
    found = CollectorSettings.load()
    assert (found.host, found.port, found.has_tokens, found.anonymous_enabled) == (
        "127.0.0.1",
        12000,
        False,
        False,
    )


def test_arguments_take_precedence_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A keyword argument takes precedence over the environment, unless it is None."""
    monkeypatch.setenv("MONITORING_PORT", "8080")
    monkeypatch.setenv("MONITORING_HOST", "0.0.0.0")
    found = CollectorSettings.load(port=9000, host=None)
    assert (found.port, found.host) == (9000, "0.0.0.0")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MONITORING_PORT", "65536"),
        ("MONITORING_PORT", "dash"),
        ("MONITORING_OTLP_GRPC_PORT", "-1"),
        ("MONITORING_STALLED_ACTION", "explode"),
        ("MONITORING_STATS_INTERVAL_SEC", "0"),
        ("MONITORING_STATS_INTERVAL_SEC", "inf"),
        ("MONITORING_REPLAY_EVENTS", "99"),
        ("MONITORING_CLIENT_BUFFER_BYTES", "65535"),
        ("MONITORING_CLIENT_TIMEOUT_SEC", "0"),
        ("MONITORING_CLIENT_TIMEOUT_SEC", "nan"),
        ("MONITORING_CLIENT_TIMEOUT_SEC", "inf"),
        ("MONITORING_TOKEN_MAX_CONNECTIONS", "0"),
        ("MONITORING_ADDRESS_MAX_CONNECTIONS", "0"),
        ("MONITORING_ANONYMOUS_ENABLED", "perhaps"),
    ],
)
def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """An invalid value fails at once, with the variable and the value."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"^{name}={value}: .*see .env.example$"):
        CollectorSettings.load()


@pytest.mark.parametrize(
    "template",
    [
        "javascript:alert('{trace_id}')",
        "http://jaeger/trace/",
        "/trace/{trace_id}",
        "http://[x/{trace_id}",
    ],
)
def test_a_trace_link_must_lead_to_a_trace(template: str) -> None:
    """A template that is no http URL, or lacks ``{trace_id}``, is an error naming the variable."""
    with pytest.raises(ConfigurationError) as raised:
        CollectorSettings.load(trace_url_template=template)
    assert raised.value.problem.startswith("MONITORING_TRACE_URL_TEMPLATE: ")


def test_a_trace_link_may_have_its_trace_anywhere() -> None:
    """A template may have the trace id in its path (Jaeger) or in its query (Grafana)."""
    for template in ("https://j/trace/{trace_id}", "http://g/explore?q={trace_id}", ""):
        assert CollectorSettings.load(trace_url_template=template).trace_url_template == template


@pytest.mark.parametrize(
    ("tokens", "file", "has_tokens"),
    [("", None, False), (" \n ", None, False), ("a b", None, True), ("", Path("x"), True)],
)
def test_tokens_may_come_from_either_place(
    tokens: str, file: Path | None, has_tokens: bool
) -> None:
    """Requests must authenticate as soon as a token or a file of tokens is configured."""
    assert CollectorSettings.load(tokens=tokens, tokens_file=file).has_tokens is has_tokens


def test_tokens_are_not_shown() -> None:
    """The ``repr`` of the settings contains no token."""
    assert "hunter2" not in repr(CollectorSettings.load(tokens="alice hunter2 projects=*"))
