"""Projects are looked up without waiting: what is not known is found in the background."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import fakeredis
import pytest

from otel_bridge.projects.lookup import ProjectLookup
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from tests.support.faults import FakeClock
from tests.support.queue_clients import embedded
from tests.support.waiting import wait_until

MakeLookup = Callable[..., ProjectLookup]


class Book:
    """A knowledge base that counts what it is asked, and may be slow or broken."""

    def __init__(self, **projects: str) -> None:
        self.projects = projects
        self.asked: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.failure: Exception | None = None

    def get_research_task(self, task_id: str) -> Any:
        self.asked.append(task_id)
        assert self.gate.wait(10)
        if self.failure is not None:
            raise self.failure
        return {"project_id": self.projects.get(task_id)}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make_lookup(clock: FakeClock) -> Iterator[MakeLookup]:
    made: list[ProjectLookup] = []

    def make(book: Book | None = None, **options: Any) -> ProjectLookup:
        made.append(ProjectLookup(embedded, book, clock=clock, **options))
        return made[-1]

    yield make
    for lookup in made:
        lookup.close()
    wait_until(lambda: not is_looking(), "the threads' end")


def is_looking() -> bool:
    """Whether the thread of any lookup runs in this process."""
    return "otel-bridge-projects" in [thread.name for thread in threading.enumerate()]


def test_what_was_learnt_is_known_at_once(make_lookup: MakeLookup) -> None:
    """A project that was given needs neither thread nor Redis."""
    lookup = make_lookup()
    assert (lookup.learn("t", "p"), lookup.learn("t", "p"), lookup.learn("t", "q")) == (
        True,
        False,
        True,
    )
    assert lookup.known("t") == "q"
    assert not is_looking()


def test_a_question_does_not_wait_for_its_answer(make_lookup: MakeLookup) -> None:
    """Until the knowledge base answers, the caller gets None; later it gets the project."""
    book = Book(t="p")
    book.gate.clear()
    lookup = make_lookup(book)
    assert lookup.known("t") is None
    wait_until(lambda: book.asked, "the question")
    assert lookup.known("t") is None
    book.gate.set()
    wait_until(lambda: lookup.known("t") == "p", "the answer")
    assert book.asked == ["t"]


def test_a_process_can_end_without_closing_it(make_lookup: MakeLookup) -> None:
    """The thread is a daemon: a coordinator that forgets to close does not hang at its end."""
    book = Book()
    make_lookup(book).known("t")
    looking = [one for one in threading.enumerate() if one.name == "otel-bridge-projects"]
    assert [one.daemon for one in looking] == [True]
    wait_until(lambda: book.asked, "the question")


def test_redis_is_asked_before_the_knowledge_base(clock: FakeClock) -> None:
    """A project that a coordinator wrote to Redis is found without the knowledge base."""
    book = Book(t="of the book")
    server = fakeredis.FakeServer()
    fakeredis.FakeRedis(server=server).hset(DEFAULT_KEYS.task_meta("t"), "project_id", "of redis")
    lookup = ProjectLookup(lambda: fakeredis.FakeAsyncRedis(server=server), book, clock=clock)
    lookup.known("t")
    wait_until(lambda: lookup.known("t"), "the answer")
    lookup.close()
    assert (lookup.known("t"), book.asked) == ("of redis", [])


def test_an_unknown_task_is_asked_for_once_a_minute(
    make_lookup: MakeLookup, clock: FakeClock
) -> None:
    """A task without a known project costs one question a minute, however many jobs it has."""
    book = Book()
    lookup = make_lookup(book)

    def asked(count: int) -> bool:
        """Whether this many questions were asked and answered."""
        return len(book.asked) == count and lookup._lookups == 0

    for count in (1, 2, 3):
        for _ in range(50):
            assert lookup.known("t") is None
        wait_until(lambda count=count: asked(count), "the question")  # type: ignore[misc]
        clock.advance(59)
        lookup.known("t")
        clock.advance(1)
    assert book.asked == ["t"] * 3


@pytest.mark.parametrize("failure", [ConnectionError("no database"), ZeroDivisionError("a bug")])
def test_a_broken_knowledge_base_costs_its_answer(
    make_lookup: MakeLookup, failure: Exception
) -> None:
    """If the knowledge base raises, the project stays unknown, and other tasks are looked up."""
    book = Book(t="p", u="q")
    book.failure = failure
    lookup = make_lookup(book)
    lookup.known("t")
    wait_until(lambda: book.asked, "the question")
    book.failure = None
    lookup.known("u")
    wait_until(lambda: lookup.known("u") == "q", "the other answer")
    assert lookup.known("t") is None


def test_a_redis_that_cannot_be_made_raises_nothing(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception in ``connect`` is logged in the background; the caller gets None."""

    def connect() -> Any:
        raise ValueError("no such host")

    lookup = ProjectLookup(connect, clock=clock)
    assert lookup.known("t") is None
    wait_until(lambda: "could not be looked up" in caplog.text, "the log line")
    lookup.close()


def test_what_is_known_is_bounded(make_lookup: MakeLookup) -> None:
    """Of more research tasks than can be remembered, the newest are kept."""
    lookup = make_lookup(max_cached=3)
    for number in range(10):
        lookup.learn(f"t{number}", "p")
    lookup.learn("t7", "p")
    lookup.learn("t10", "p")
    assert [name for name in ("t6", "t7", "t8", "t9", "t10") if name in lookup._known] == [
        "t7",
        "t9",
        "t10",
    ]


def test_a_forked_child_knows_what_was_known_and_can_ask(clock: FakeClock) -> None:
    """A forked child starts a thread of its own; what its parent learnt stays known."""
    book = Book(u="q")
    lookup = ProjectLookup(embedded, book, clock=clock)
    lookup.learn("t", "p")
    lookup.known("x")
    wait_until(lambda: book.asked, "a thread before the fork")
    with warnings.catch_warnings():
        # Python 3.12 warns of forking with threads, which is what this is about.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            wait_until(lambda: lookup.known("u") == "q", "the answer in the child")
            is_right = lookup.known("t") == "p"
        except BaseException:
            is_right = False
        os._exit(0 if is_right else 1)
    _, status = os.waitpid(child, 0)
    lookup.close()
    assert os.waitstatus_to_exitcode(status) == 0


def test_after_closing_it_can_be_used_again(make_lookup: MakeLookup) -> None:
    """Closing twice raises nothing; a later call looks up on a new event loop."""
    book = Book(t="p", u="q")
    lookup = make_lookup(book)
    lookup.known("t")
    wait_until(lambda: lookup.known("t") == "p", "the first answer")
    lookup.close()
    lookup.close()
    wait_until(lambda: not is_looking(), "the thread's end")
    lookup.known("u")
    wait_until(lambda: lookup.known("u") == "q", "the answer after closing")
