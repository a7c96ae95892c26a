"""The library's settings: names, defaults, and errors that never contain a password."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.environment import env_name
from otel_bridge.errors import ConfigurationError
from otel_bridge.settings import (
    COLLECTOR_NAMES,
    DEFAULT_COLLECTOR_URL,
    BridgeSettings,
    unknown_names,
)
from otel_bridge.urls import redact_url


def test_names_and_defaults_are_the_documented_ones() -> None:
    """The variables that users already set exist, with the documented defaults."""
    found = BridgeSettings.load()
    defaults = {
        env_name(BridgeSettings, name): getattr(found, name)
        for name in (
            "enabled",
            "redis_url",
            "bus_url",
            "events_channel",
            "stats_channel",
            "project_channel_prefix",
            "heartbeat_interval_sec",
            "heartbeat_ttl_sec",
            "max_event_size_bytes",
        )
    }
    assert defaults == {
        "NEXUS_MONITORING_ENABLED": True,
        "REDIS_URL": None,
        "MONITORING_BUS_URL": "http://127.0.0.1:12000",
        "MONITORING_EVENTS_CHANNEL": "nexus:events",
        "MONITORING_STATS_CHANNEL": "nexus:events:stats",
        "MONITORING_PROJECT_CHANNEL_PREFIX": "nexus:events:project:",
        "MONITORING_HEARTBEAT_INTERVAL_SEC": 10,
        "MONITORING_HEARTBEAT_TTL_SEC": 30,
        "MONITORING_MAX_EVENT_SIZE_BYTES": 8192,
    }


@pytest.mark.parametrize(
    ("redis_url", "bus_url", "expected"),
    [
        (None, "", DEFAULT_COLLECTOR_URL),
        ("redis://r", "", "redis://r"),
        ("redis://r", "http://c:1", "http://c:1"),
        (None, "memory://m", "memory://m"),
    ],
)
def test_where_events_go(redis_url: str | None, bus_url: str, expected: str) -> None:
    """Events go to the bus URL, else to Redis if there is one, else to the local collector."""
    assert BridgeSettings.load(redis_url=redis_url, bus_url=bus_url).bus_url == expected


def test_every_variable_has_a_known_prefix() -> None:
    """Our variables begin with MONITORING_, those of OpenTelemetry keep their names."""
    names = {str(field.validation_alias) for field in BridgeSettings.model_fields.values()}
    known_elsewhere = {"REDIS_URL", "NEXUS_MONITORING_ENABLED", "NO_COLOR"}
    unprefixed = {
        name for name in names - known_elsewhere if not name.startswith(("MONITORING_", "OTEL_"))
    }
    assert unprefixed == set()
    assert not names & COLLECTOR_NAMES


def test_arguments_take_precedence_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument takes precedence over the environment, unless it is None."""
    monkeypatch.setenv("MONITORING_EVENTS_CHANNEL", "from:environment")
    monkeypatch.setenv("MONITORING_STATS_CHANNEL", "from:environment")
    found = BridgeSettings.load(events_channel="given", stats_channel=None)
    assert (found.events_channel, found.stats_channel) == ("given", "from:environment")


def test_settings_do_not_change() -> None:
    """Settings are frozen, so no component can change them for another."""
    with pytest.raises(ValueError, match="frozen"):
        BridgeSettings.load().enabled = False  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NEXUS_MONITORING_ENABLED", "perhaps"),
        ("MONITORING_KEY_PREFIX", "shop:"),
        ("MONITORING_HEARTBEAT_INTERVAL_SEC", "0"),
        ("MONITORING_HEARTBEAT_TTL_SEC", "inf"),
        ("MONITORING_QUEUE_DEPTH_INTERVAL_SEC", "inf"),
        ("MONITORING_PROGRESS_INTERVAL_SEC", "nan"),
        ("MONITORING_SHUTDOWN_TIMEOUT_SEC", "inf"),
        ("MONITORING_MAX_EVENT_SIZE_BYTES", "1023"),
        ("MONITORING_MAX_EVENT_SIZE_BYTES", "8k"),
        ("MONITORING_BATCH_MAX_EVENTS", "1001"),
        ("MONITORING_SEND_TIMEOUT_MS", "0"),
        ("MONITORING_STREAM_MAX_EVENTS", "999"),
    ],
)
def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """An invalid value is an error that names the variable and the value."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"^{name}={value}: .*see .env.example$"):
        BridgeSettings.load()


def test_a_ttl_outlives_the_interval() -> None:
    """A TTL not longer than the interval is an error with both values and one that works."""
    with pytest.raises(ConfigurationError) as raised:
        BridgeSettings.load(heartbeat_ttl_sec=10, heartbeat_interval_sec=10)
    assert str(raised.value) == (
        "MONITORING_HEARTBEAT_TTL_SEC=10 must exceed MONITORING_HEARTBEAT_INTERVAL_SEC=10; "
        "use at least 20"
    )


def test_a_mistyped_variable_is_reported_with_a_guess(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An unknown MONITORING_* variable is one warning, with the most similar setting."""
    monkeypatch.setenv("MONITORING_HEARTBEAT_INTERVALL_SEC", "hunter2")
    with caplog.at_level(logging.WARNING):
        BridgeSettings.load()
    assert [record.getMessage() for record in caplog.records] == [
        "unknown setting MONITORING_HEARTBEAT_INTERVALL_SEC is ignored; "
        "did you mean MONITORING_HEARTBEAT_INTERVAL_SEC?"
    ]


def test_variables_of_other_programs_are_not_reported() -> None:
    """Variables of the collector and of other programs are not unknown settings."""
    environ = dict.fromkeys([*COLLECTOR_NAMES, "MONITOR", "REDIS_HOST", "PATH"], "x")
    assert unknown_names(environ) == {}
    unlike_any = "MONITORING_" + "Q" * 60
    assert unknown_names({unlike_any: "x"}) == {unlike_any: None}


def test_a_mistyped_argument_does_not_show_its_value() -> None:
    """An unknown argument is named with a guess, but without its value: it may be a password."""
    with pytest.raises(ConfigurationError) as raised:
        BridgeSettings.load(redis_ulr="redis://:hunter2@host")
    assert str(raised.value) == "there is no setting redis_ulr; did you mean redis_url?"


@pytest.mark.parametrize("name", ["redis_url", "knowledge_base_url", "token"])
def test_secrets_of_a_wrong_type_are_not_shown(name: str) -> None:
    """The value of a setting that may hold a password is never shown."""
    wrong: dict[str, Any] = {name: ["hunter2"]}
    with pytest.raises(ConfigurationError) as raised:
        BridgeSettings.load(**wrong)
    assert "hunter2" not in str(raised.value)
    assert env_name(BridgeSettings, name) in str(raised.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:secret@host:6379/0", "redis://host:6379/0"),
        ("redis://:secret@[::1]:6379", "redis://[::1]:6379"),
        (
            "redis+sentinel://u:secret@a:1,b/m/3?sentinel_password=secret",
            "redis+sentinel://a:1,b/m/3",
        ),
        ("https://host/path?token=secret#secret", "https://host/path"),
        ("unix://u:secret@/run/redis.sock", "unix:///run/redis.sock"),
        ("memory://tests", "memory://tests"),
        ("redis://user:sec/ret@host", "redis://***"),
        ("redis://user:sec?ret@host", "redis://***"),
        ("redis://user:sec#ret@host", "redis://***"),
        ("redis://user:s@cr/et@host", "redis://***"),
        ("redis://user:secret", "redis://***"),
        ("redis://[secret", "redis://***"),
        ("user:secret@host", "***"),
        ("host=db password=secret", "***"),
        ("", "***"),
    ],
)
def test_a_log_line_shows_host_and_path_of_a_url(url: str, shown: str) -> None:
    """Host and path are shown; a password is not, also if it is not percent-encoded."""
    assert redact_url(url) == shown


@given(
    st.sampled_from(["redis", "rediss+sentinel", "http"]),
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.sampled_from(["", "user"]),
)
def test_no_password_is_ever_shown(scheme: str, password: str, user: str) -> None:
    """Whatever characters a password has, a log line shows only host and path, or neither."""
    shown = redact_url(f"{scheme}://{user}:{password}@host:1/0")
    assert shown in (f"{scheme}://host:1/0", f"{scheme}://***")


@given(st.text(max_size=40))
def test_any_text_can_be_redacted(text: str) -> None:
    """No text makes the redaction raise, because it is used in error messages."""
    redact_url(text)
    redact_url(f"redis://{text}")
