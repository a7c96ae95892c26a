"""The library's settings: names, defaults, and errors that never contain a password."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from pydantic import ValidationError

from otel_bridge.environment import env_name
from otel_bridge.errors import ConfigurationError
from otel_bridge.settings import COLLECTOR_NAMES, DEFAULT_COLLECTOR_URL, BridgeSettings


def test_names_and_defaults_are_the_documented_ones() -> None:
    """The variables that users already set exist, with the documented defaults."""
    found = BridgeSettings.load()
    defaults = {
        env_name(BridgeSettings, name): getattr(found, name)
        for name in (
            "enabled",
            "bridge_enabled",
            "redis_url",
            "key_prefix",
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
        "MONITORING_ENABLED": True,
        "MONITORING_KEY_PREFIX": "nexus",
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


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files and charts set a value that was left out to the empty text."""
    expected = BridgeSettings.load()
    for field in BridgeSettings.model_fields.values():
        monkeypatch.setenv(str(field.validation_alias), "")
    assert BridgeSettings.load() == expected
    assert BridgeSettings.load(redis_url="", events_channel="") == expected


@pytest.mark.parametrize(
    ("value", "expected", "is_warned"),
    [
        ("true", True, False),
        ("TRUE", True, False),
        ("false", False, False),
        ("False", False, False),
        ("", False, False),
        ("1", False, True),
        ("yes", False, True),
        (" true", False, True),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_booleans_of_opentelemetry_are_as_specified(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    value: str,
    expected: bool,
    is_warned: bool,
    strict: bool,
) -> None:
    """Only "true" in any case is true; anything else is false, with a warning if it is unclear."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", value)
    assert BridgeSettings.load(strict=strict).otel_sdk_disabled is expected
    assert [record.getMessage() for record in caplog.records] == (
        [f"OTEL_SDK_DISABLED={value} counts as false; write true or false"] if is_warned else []
    )


@pytest.mark.parametrize(
    ("ours", "shared", "disabled", "expected"),
    [
        ("", "", "", True),
        ("true", "true", "false", True),
        ("false", "true", "", False),
        ("true", "false", "", False),
        ("true", "true", "true", False),
    ],
)
def test_each_switch_is_enough_to_turn_it_off(
    monkeypatch: pytest.MonkeyPatch, ours: str, shared: str, disabled: str, expected: bool
) -> None:
    """Active only if neither switch is false and OpenTelemetry is not disabled."""
    monkeypatch.setenv("MONITORING_ENABLED", ours)
    monkeypatch.setenv("NEXUS_MONITORING_ENABLED", shared)
    monkeypatch.setenv("OTEL_SDK_DISABLED", disabled)
    assert BridgeSettings.load().is_active is expected


def test_channels_begin_with_the_key_prefix() -> None:
    """A channel that is not set follows the prefix; one that is set is taken as it is."""
    found = BridgeSettings.load(key_prefix="shop:eu", stats_channel="numbers")
    assert (found.events_channel, found.stats_channel, found.project_channel_prefix) == (
        "shop:eu:events",
        "numbers",
        "shop:eu:events:project:",
    )


@pytest.mark.parametrize("prefix", ["nexus", "a", "shop:eu", "A-b_c.9", "x" * 64])
def test_a_prefix_is_words_with_colons_between(prefix: str) -> None:
    """Letters, digits and _ . - with colons between them may begin a key."""
    assert BridgeSettings.load(key_prefix=prefix).key_prefix == prefix


@pytest.mark.parametrize(
    "prefix",
    ["shop:", ":shop", "a::b", "a b", "a*", "a?", "[a]", "{a}", "a\\b", "a'b", "ä", "x" * 65, "\n"],
)
def test_a_prefix_that_no_key_or_acl_can_begin_with_is_named(prefix: str) -> None:
    """Braces would move a key to another Cluster slot, a glob would widen an ACL."""
    with pytest.raises(ConfigurationError, match=r"^MONITORING_KEY_PREFIX="):
        BridgeSettings.load(key_prefix=prefix)


def test_printed_settings_have_no_password() -> None:
    """``repr`` and ``str`` show the hosts of URLs, and no token."""
    made = BridgeSettings(
        redis_url="redis://u:hunter2@host/1",
        knowledge_base_url="postgresql://u:hunter2@db/d",
        otlp_endpoint="http://u:hunter2@collector:4318",
        token="hunter2",
    )
    for text in (repr(made), str(made)):
        assert "redis_url='redis://host/1'" in text
        assert "hunter2" not in text


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


def test_named_attributes_whose_text_stays_out_are_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Naming a prompt while prompts stay out is one warning with the cure; a star is none."""
    monkeypatch.setenv("MONITORING_META_ATTRIBUTES", "gen_ai.*, input.value ,app.id,app.result")
    with caplog.at_level(logging.WARNING):
        BridgeSettings.load()
        BridgeSettings.load(prompts_enabled=True)
    assert [record.getMessage() for record in caplog.records] == [
        "of input.value, app.result in MONITORING_META_ATTRIBUTES only numbers are shown, because "
        "text under such a name may be a prompt or an answer; MONITORING_PROMPTS_ENABLED=true "
        "shows it"
    ]


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


@pytest.mark.parametrize("level", ["warning", "WARNING", "Warning"])
def test_the_level_of_log_lines_may_have_any_case(level: str) -> None:
    """``MONITORING_LOGS`` is one of five words, off by default."""
    assert BridgeSettings(logs=level).logs == "warning"
    assert BridgeSettings().logs == "off"
    with pytest.raises(ValidationError):
        BridgeSettings(logs="all")
