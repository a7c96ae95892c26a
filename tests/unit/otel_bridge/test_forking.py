"""Functions are called around a fork, and objects that are gone are not kept for it."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable

import pytest

from otel_bridge.forking import current_incarnation, keep_incarnation, on_fork

pytestmark = pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")


class Recorder:
    """Notes which hooks were called, in this process."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        on_fork(before=self.before, after_in_parent=self.in_parent, after_in_child=self.in_child)

    def before(self) -> None:
        self.calls.append("before")

    def in_parent(self) -> None:
        self.calls.append("parent")

    def in_child(self) -> None:
        self.calls.append("child")


def calls_in_child(recorder: Recorder) -> str:
    """Fork, and give what the child had recorded."""
    return in_child(lambda: " ".join(recorder.calls))


def in_child(read: Callable[[], str]) -> str:
    """Fork, and give what the child read."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, read().encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return text


def test_each_side_is_called_once() -> None:
    """The parent runs ``before`` and ``after_in_parent``, the child ``before`` and its own."""
    recorder = Recorder()
    assert calls_in_child(recorder) == "before child"
    assert recorder.calls == ["before", "parent"]


def test_a_hook_keeps_no_object_alive() -> None:
    """An object whose methods are hooks is collected, and a later fork does not call it."""
    recorder = Recorder()
    gone = weakref.ref(recorder)
    del recorder
    gc.collect()
    assert gone() is None
    assert calls_in_child(Recorder()) == "before child"


def test_a_forked_child_is_another_incarnation() -> None:
    """A process keeps its incarnation, 16 hex digits; each child of a fork has one of its own."""
    own = current_incarnation()
    children = {in_child(current_incarnation) for _ in range(2)}
    assert current_incarnation() == own
    assert len({own, *children}) == 3
    for found in (own, *children):
        assert len(bytes.fromhex(found)) == 8


def test_a_work_horse_keeps_its_workers_incarnation() -> None:
    """A child that is forked inside the block is the same life; its own child is another."""
    mine = current_incarnation()
    with keep_incarnation():
        assert in_child(current_incarnation) == mine
        assert in_child(lambda: in_child(current_incarnation)) != mine
    assert in_child(current_incarnation) != mine
