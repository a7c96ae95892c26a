"""The collector's settings: defaults, bounds, and errors that name the variable and the cure."""

from __future__ import annotations

import logging
import re
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


EXAMPLE = (Path(__file__).parents[3] / ".env.example").read_text(encoding="utf-8")


@pytest.mark.parametrize("with_values", [False, True], ids=["empty", "as it stands"])
def test_the_example_uncommented_is_the_default(
    monkeypatch: pytest.MonkeyPatch, with_values: bool
) -> None:
    """Every line of ``.env.example``, as it stands or without its value, changes nothing."""
    default = CollectorSettings.load()
    lines = dict(re.findall(r"^#([A-Z_]+)=(.*)$", EXAMPLE, flags=re.MULTILINE))
    assert lines.keys() >= COLLECTOR_NAMES
    for name, value in lines.items():
        monkeypatch.setenv(name, value if with_values else "")
    assert CollectorSettings.load() == default


@pytest.mark.parametrize("name", sorted(COLLECTOR_NAMES))
def test_empty_is_unset(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Each variable that is set to the empty text has its default."""
    default = CollectorSettings.load()
    monkeypatch.setenv(name, "")
    assert CollectorSettings.load() == default


@pytest.mark.parametrize(
    ("name", "field", "default"),
    [("MONITORING_PORT", "port", 12000), ("MONITORING_OTLP_GRPC_PORT", "otlp_grpc_port", None)],
)
def test_a_service_link_is_no_port(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    field: str,
    default: int | None,
) -> None:
    """What Kubernetes sets beside a Service of that name is a warning with the cure, no error."""
    monkeypatch.setenv(name, "tcp://10.0.0.1:12000")
    assert getattr(CollectorSettings.load(), field) == default
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    text = record.getMessage()
    assert text.startswith(f"{name}=tcp://10.0.0.1:12000 is Kubernetes' link to a Service")
    assert f"using {default}; set enableServiceLinks: false" in text


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
        ("MONITORING_CONNECTS_PER_SEC", "-1"),
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


PASSWORDS = ("hunter%40orchid", "hunter@orchid", "hunter/orchid", "hunter orchid", "[hunter@orchid")


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MONITORING_ALLOWED_ORIGINS", "https://user:{}@dash.example.org"),
        ("MONITORING_ALLOWED_ORIGINS", "https://a.example.org,https://{}@dash.example.org"),
        ("MONITORING_TRACE_URL_TEMPLATE", "https://user:{}@trace.example.org/"),
        ("MONITORING_TRACE_URL_TEMPLATE", "http://[{}]/"),
    ],
)
def test_a_password_is_not_quoted(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, password: str
) -> None:
    """A URL that should hold no password is named in the error, but not quoted."""
    monkeypatch.setenv(name, text.format(password))
    with pytest.raises(ConfigurationError) as raised:
        CollectorSettings.load()
    assert name in str(raised.value)
    assert [piece for piece in ("hunter", "orchid") if piece in str(raised.value)] == []


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
