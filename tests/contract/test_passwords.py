"""No piece of a password is in what the library raises, logs or prints, however it is written."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from otel_bridge.checks import usable_settings
from otel_bridge.errors import ConfigurationError, TransportError
from otel_bridge.projects.postgres import knowledge_base_of
from otel_bridge.publish.transports import open_receiver, open_sender
from otel_bridge.publish.transports.base import Outgoing
from otel_bridge.settings import BridgeSettings
from otel_bridge.workers.heartbeat import HeartbeatKeys
from tests.support.passwords import PASSWORD_URLS, shown_pieces

FIELDS = ("redis_url", "bus_url", "knowledge_base_url", "otlp_endpoint")

# The log of one example must not be that of the one before.
several_examples = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Shown:
    """Collects what a user could see: texts of errors, log lines, printed objects."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        self.texts: list[str] = []
        caplog.clear()
        caplog.set_level(logging.DEBUG, "otel_bridge")

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Run a block and keep the text of its error."""
        try:
            yield
        except (ConfigurationError, TransportError) as error:
            self.texts += [str(error), repr(error)]

    def __str__(self) -> str:
        return "\n".join([*self.texts, self._caplog.text])


def settings_of(**fields: Any) -> BridgeSettings:
    return BridgeSettings(**fields)


@several_examples
@given(PASSWORD_URLS)
def test_settings_show_no_password(
    caplog: pytest.LogCaptureFixture, found: tuple[str, str]
) -> None:
    """Printed settings, and warnings and errors about each setting that is a URL, show none."""
    url, password = found
    shown = Shown(caplog)
    made = settings_of(token="hunter2", **dict.fromkeys(FIELDS, url))
    shown.texts += [repr(made), str(made)]
    shown.texts.append(repr(usable_settings(made, with_otlp=True, strict=False)))
    for field in FIELDS:
        with shown.errors():
            usable_settings(settings_of(**{field: url}), with_otlp=True, strict=True)
    with shown.errors():
        shown.texts.append(repr(knowledge_base_of(made)))
    assert shown_pieces(password, str(shown)) == []
    assert "hunter2" not in str(shown)


@several_examples
@given(PASSWORD_URLS)
async def test_connections_show_no_password(
    caplog: pytest.LogCaptureFixture, found: tuple[str, str]
) -> None:
    """Both ends of the log and the heartbeat keys show none when they cannot connect."""
    url, password = found
    shown = Shown(caplog)
    made = BridgeSettings(bus_url=url, send_timeout_ms=200)
    with shown.errors():
        open_sender(url, made).send("p", 1, [Outgoing(b"{}", None)])
    with shown.errors():
        receiver = open_receiver(url, made)
        try:
            await receiver.open()
        finally:
            await receiver.close()
    with contextlib.suppress(ConfigurationError):
        usable_settings(made, with_otlp=False, strict=True)
        HeartbeatKeys(made).refresh("w")
    assert shown_pieces(password, str(shown)) == []
