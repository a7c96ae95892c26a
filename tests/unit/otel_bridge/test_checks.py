"""What ``configure`` checks before it creates anything: an error, or one warning and a default."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from otel_bridge.checks import usable_settings
from otel_bridge.errors import ConfigurationError
from otel_bridge.settings import DEFAULT_COLLECTOR_URL, BridgeSettings

MakeSettings = Callable[..., BridgeSettings]

WRONG: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    (
        {"redis_url": "redis://h:port", "bus_url": ""},
        "REDIS_URL=redis://*** is not a Redis URL",
        {"redis_url": None, "bus_url": DEFAULT_COLLECTOR_URL},
    ),
    (
        {"redis_url": "redis://h:port", "bus_url": "memory://m"},
        "REDIS_URL=redis://*** is not a Redis URL",
        {"redis_url": None, "bus_url": "memory://m"},
    ),
    (
        {"redis_url": "redis://h", "bus_url": "kafka://h"},
        "unknown transport 'kafka' in MONITORING_BUS_URL",
        {"redis_url": "redis://h", "bus_url": "redis://h"},
    ),
    (
        {"bus_url": "redis://h/x"},
        "MONITORING_BUS_URL=redis://h/x is not a Redis URL: its database is not a number",
        {"bus_url": DEFAULT_COLLECTOR_URL},
    ),
    (
        {"knowledge_base_url": "mysql://h"},
        "MONITORING_KNOWLEDGE_BASE_URL=mysql://h is not a PostgreSQL URL",
        {"knowledge_base_url": None},
    ),
    (
        {"otlp_endpoint": "http://h", "otlp_protocol": "smoke"},
        "OTEL_EXPORTER_OTLP_PROTOCOL=smoke is not supported",
        {"otlp_protocol": None},
    ),
]


@pytest.mark.parametrize(("fields", "sentence", "used"), WRONG)
def test_a_setting_that_cannot_work_gets_its_default(
    make_settings: MakeSettings,
    caplog: pytest.LogCaptureFixture,
    fields: dict[str, Any],
    sentence: str,
    used: dict[str, Any],
) -> None:
    """One warning names it, its cure and what is used until then; nothing else is changed."""
    settings = make_settings(**fields)
    found = usable_settings(settings, with_otlp=True, strict=False)
    assert found == settings.model_copy(update=used)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(sentence)
    assert "; until then " in line


@pytest.mark.parametrize(("fields", "sentence", "_used"), WRONG)
def test_strict_it_is_an_error(
    make_settings: MakeSettings, fields: dict[str, Any], sentence: str, _used: object
) -> None:
    """The same sentence is the error, and the settings are not changed."""
    with pytest.raises(ConfigurationError) as raised:
        usable_settings(make_settings(**fields), with_otlp=True, strict=True)
    assert str(raised.value).startswith(sentence)


def test_what_is_not_created_is_not_checked(make_settings: MakeSettings) -> None:
    """An application with a provider of its own exports in its own way; good settings stay."""
    wrong = make_settings(otlp_endpoint="http://h", otlp_protocol="smoke")
    assert usable_settings(wrong, with_otlp=False, strict=True) is wrong
