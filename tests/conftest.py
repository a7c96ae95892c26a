"""
Fixtures for all tests: settings that ignore the developer's environment, a real Redis.

``redis_url`` is a database of its own on a server shared by the session, so nothing is ever
flushed. Pub/Sub has no databases: a test that subscribes names channels of its own.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest

from otel_bridge.settings import COLLECTOR_NAMES, BridgeSettings
from tests.support.redis_server import DATABASES, RedisServer

_databases = itertools.count()

# A shell starts what runs behind it (``make test &``) with SIGINT ignored, and so would every
# process started here: the tests that press Ctrl-C would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# The same for ``nohup make test``: the collector leaves an ignored SIGHUP ignored.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


# A slow machine is no failure: hypothesis would judge what an example and its data cost.
hypothesis.settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any-machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--screenshots``: the browser tests write the README's picture into ``docs/``."""
    parser.addoption("--screenshots", action="store_true", help="write docs/dashboard.png")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """
    Name a case after its argument, not after its bytes.

    A gzip body holds the second it was packed in, and pytest-xdist refuses to start where two
    processes collected different names.
    """
    return argname if isinstance(val, bytes) else None


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's shell reaches a test."""
    fields = BridgeSettings.model_fields.values()
    for name in {str(field.validation_alias) for field in fields} | COLLECTOR_NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def make_settings() -> Callable[..., BridgeSettings]:
    """Settings with test-friendly defaults; keyword arguments win."""
    # Not 100 ms: a busy machine takes longer, and a sender by itself sends nothing again.
    defaults: dict[str, Any] = {"bus_url": "memory://tests", "send_timeout_ms": 1000}

    def make(**overrides: Any) -> BridgeSettings:
        return BridgeSettings(**defaults | overrides)

    return make


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The session's redis-server; do not stop it, see ``own_redis``."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of a database that no other test uses."""
    return f"redis://127.0.0.1:{redis_server.port}/{next(_databases) % DATABASES}"


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A redis-server of the test's own, to be killed and stopped at will; it keeps its data."""
    with RedisServer(is_durable=True) as server:
        yield server
