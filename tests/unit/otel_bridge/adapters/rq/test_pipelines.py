"""A pipeline of redis-py on a real Redis: what was put into it counts when it is executed."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
import redis

from otel_bridge.adapters.rq.pipelines import after_execute

pytestmark = pytest.mark.redis


class Seen(list[str]):
    """What became of the commands."""

    def watch(self, pipeline: object, name: str = "") -> None:
        after_execute(
            pipeline, lambda: self.append(f"{name}done"), lambda: self.append(f"{name}lost")
        )


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def test_executed_twice(client: redis.Redis) -> None:
    """Each execution reports what was put in before it; the results are those of Redis."""
    seen, pipeline = Seen(), client.pipeline()
    pipeline.set("a", 1)
    seen.watch(pipeline, "a ")
    seen.watch(pipeline, "b ")
    assert pipeline.execute() == [True]
    assert seen == ["a done", "b done"]
    pipeline.get("a")
    seen.watch(pipeline, "c ")
    assert pipeline.execute() == [b"1"]
    assert seen == ["a done", "b done", "c done"]


@pytest.mark.parametrize("raises", [True, False])
def test_a_command_that_fails(client: redis.Redis, raises: bool) -> None:
    """It is lost, whether the error is raised or among the results."""
    seen, pipeline = Seen(), client.pipeline()
    client.set("text", "x")
    pipeline.incr("text")
    seen.watch(pipeline)
    if raises:
        with pytest.raises(redis.ResponseError):
            pipeline.execute()
    else:
        (error,) = pipeline.execute(raise_on_error=False)
        assert isinstance(error, redis.ResponseError)
    assert seen == ["lost"]


def test_a_watched_key_that_changed(client: redis.Redis) -> None:
    """``WatchError`` reaches the caller, whose next try counts."""
    seen, pipeline = Seen(), client.pipeline()
    pipeline.watch("key")  # type: ignore[no-untyped-call]
    client.set("key", 1)
    pipeline.multi()
    pipeline.set("key", 2)
    seen.watch(pipeline)
    with pytest.raises(redis.WatchError):
        pipeline.execute()
    pipeline.set("key", 2)
    seen.watch(pipeline)
    pipeline.execute()
    assert seen == ["lost", "done"]


def test_a_pipeline_that_is_left(client: redis.Redis) -> None:
    """Leaving its block without ``execute()`` drops it; one that is forgotten is freed at once."""
    seen = Seen()
    with client.pipeline() as pipeline:
        pipeline.set("a", 1)
        seen.watch(pipeline)
    assert seen == ["lost"]
    forgotten = client.pipeline()
    seen.watch(forgotten)
    reference = weakref.ref(forgotten)
    gc.disable()
    try:
        del forgotten
        assert reference() is None
    finally:
        gc.enable()
    assert seen == ["lost", "lost"]


def test_what_takes_no_attributes(caplog: pytest.LogCaptureFixture) -> None:
    """Another object in the pipeline's place counts at once; an error of ours is logged."""
    seen = Seen()
    seen.watch(Slotted())
    after_execute(Slotted(), lambda: [][0], lambda: None)
    assert seen == ["done"]
    assert "could not report" in caplog.text


class Slotted:
    """Has no ``__dict__``."""

    __slots__ = ()
