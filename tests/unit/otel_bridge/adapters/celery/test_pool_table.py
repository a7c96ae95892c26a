"""What a pool process notes in shared memory is found by its main process, once."""

from __future__ import annotations

import os

import pytest

from otel_bridge.adapters.celery.pool_table import Noted, PoolTable, key_of
from otel_bridge.events import semconv

SPAN = 0xB7AD6B7169203331


def test_a_key_names_one_attempt_of_one_run() -> None:
    """Job, run and number of the attempt each make another key of 16 bytes."""
    run = {semconv.CARRIER_RUN_ID: "a"}
    keys = [
        key_of("j", run, 0),
        key_of("j", run, 1),
        key_of("j", {semconv.CARRIER_RUN_ID: "b"}, 0),
        key_of("j2", run, 0),
        key_of("\udc80", None, 0),
    ]
    assert len({*keys}) == 5
    assert {len(key) for key in keys} == {16}
    assert key_of("j", run, 0) == keys[0]


def test_another_process_reads_what_a_killed_one_noted() -> None:
    """A forked child notes what it runs and is gone; its parent finds span, place and error."""
    table, key = PoolTable(), key_of("j", None, 0)
    child = os.fork()
    if child == 0:
        table.started(7, key, SPAN)
        table.exits("SystemExit: 3" + "é" * 300)
        os._exit(0)
    os.waitpid(child, 0)
    assert not table.has_ended(key)
    noted = table.take(key)
    assert noted is not None
    assert (noted.place, noted.span_id) == (7, f"{SPAN:016x}")
    assert noted.error.startswith("SystemExit: 3é")
    assert len(noted.error.encode()) <= 230
    assert table.take(key) is None
    assert table.has_ended(key)


def test_an_attempt_that_has_ended_is_not_found_again() -> None:
    """After its end was reported nothing is left to report; an unknown one was not noted."""
    table, key = PoolTable(), key_of("j", None, 0)
    assert (table.has_ended(key), table.take(key)) == (False, None)
    table.started(0, key, SPAN)
    table.ended()
    table.ended()
    table.exits("late")
    assert (table.has_ended(key), table.take(key)) == (True, None)
    table.started(0, key, SPAN + 1)
    assert table.take(key) == Noted(0, f"{SPAN + 1:016x}", "")


def test_a_new_process_in_a_place_leaves_what_the_former_one_ran() -> None:
    """Entries that have not ended are overwritten only when all four of a place are such."""
    table = PoolTable()
    keys = [key_of(str(number), None, 0) for number in range(5)]
    for key in keys[:4]:
        table.started(1, key, SPAN)
    assert all(not table.has_ended(key) for key in keys[:4])
    table.started(1, keys[4], SPAN)
    found = [table.take(key) is not None for key in keys]
    assert (found.count(True), found[4]) == (4, True)


@pytest.mark.parametrize(("place", "span_id"), [(-1, SPAN), (512, SPAN), (0, 0)])
def test_what_has_no_place_or_no_span_is_not_noted(place: int, span_id: int) -> None:
    """The 513th process of a pool, and a job that is not recorded, are left out."""
    table, key = PoolTable(), key_of("j", None, 0)
    table.started(place, key, span_id)
    table.exits("error")
    table.ended()
    assert table.take(key) is None
