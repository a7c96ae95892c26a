"""The tap sees what every logger lets through, and goes as it came."""

from __future__ import annotations

import logging
import logging.config
from collections.abc import Iterator

import pytest

from otel_bridge.lines import tap


class Kept:
    """Keeps the texts that it is given."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@pytest.fixture
def kept() -> Iterator[Kept]:
    queue = Kept()
    tap.install(queue)
    yield queue
    tap.remove(queue)


def new_logger(request: pytest.FixtureRequest) -> logging.Logger:
    found = logging.getLogger(f"tap.{request.node.name}")
    found.setLevel(logging.INFO)
    return found


def test_it_sees_what_a_logger_lets_through(kept: Kept, request: pytest.FixtureRequest) -> None:
    """By the logger's own level, with or without handlers, also if it does not propagate."""
    logger = new_logger(request)
    logger.propagate = False
    logger.debug("no")
    logger.info("line %d", 1)
    assert kept.texts == ["line 1"]


def test_it_survives_a_new_configuration(kept: Kept, request: pytest.FixtureRequest) -> None:
    """``dictConfig`` replaces the handlers of the root logger, as Celery's worker does."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        logging.config.dictConfig(
            {"version": 1, "disable_existing_loggers": False, "root": {"handlers": []}}
        )
        root.handlers.clear()
        new_logger(request).info("after it")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert kept.texts == ["after it"]


def test_a_second_install_gives_each_line_once(kept: Kept, request: pytest.FixtureRequest) -> None:
    """The newer queue gets it; removing one that is not installed changes nothing."""
    newer = Kept()
    tap.install(newer)
    tap.remove(kept)
    new_logger(request).info("once")
    assert (kept.texts, newer.texts) == ([], ["once"])
    tap.remove(newer)


def test_what_was_there_is_put_back() -> None:
    """None installs nothing."""
    before = logging.Logger.callHandlers
    tap.install(None)
    assert not tap.is_installed()
    queue = Kept()
    tap.install(queue)
    assert tap.is_installed()
    assert logging.Logger.callHandlers is not before
    tap.remove(queue)
    assert not tap.is_installed()
    assert logging.Logger.callHandlers is before


def test_another_tap_above_it_stays(request: pytest.FixtureRequest) -> None:
    """As Sentry's: ours then does nothing, and is not put below it twice."""
    before = logging.Logger.callHandlers
    first, second = Kept(), Kept()
    tap.install(first)
    ours = logging.Logger.callHandlers
    seen: list[str] = []

    def theirs(self: logging.Logger, record: logging.LogRecord) -> None:
        seen.append(record.getMessage())
        ours(self, record)

    # By hand: monkeypatch would put ours back after the test.
    logging.Logger.callHandlers = theirs  # type: ignore[method-assign]
    try:
        tap.remove(first)
        new_logger(request).info("between")
        tap.install(second)
        new_logger(request).info("again")
        assert (first.texts, second.texts, seen) == ([], ["again"], ["between", "again"])
    finally:
        logging.Logger.callHandlers = ours  # type: ignore[method-assign]
        tap.remove(second)
    assert logging.Logger.callHandlers is before
