"""Errors that handlers raise on purpose, and the one about a shared queue."""

from __future__ import annotations

import pickle

from otel_bridge.errors import ConfigurationError, OtelBridgeError
from otel_bridge.orchestration.queue.errors import (
    PageBrokenError,
    PermanentJobError,
    SharedQueueError,
)


def test_a_damaged_page_is_named_with_its_problem() -> None:
    """The text is what a job's error shows; the parts can be read one by one."""
    error = PageBrokenError("a.txt", "3 control characters")
    assert str(error) == "a.txt: 3 control characters"
    assert (error.page_id, error.problem) == ("a.txt", "3 control characters")


def test_only_a_permanent_error_ends_a_job_at_once() -> None:
    """A damaged page is not a permanent error: a lenient attempt may read it."""
    assert issubclass(PermanentJobError, OtelBridgeError)
    assert issubclass(PageBrokenError, OtelBridgeError)
    assert not issubclass(PageBrokenError, PermanentJobError)


def test_a_shared_queue_is_named_with_the_item_and_the_cure() -> None:
    """The text is the one line that a worker ends with; a pickled error says the same."""
    error = SharedQueueError("nexus:tasks:high_priority", '{"id": 1}')
    assert isinstance(error, ConfigurationError)
    assert str(error) == (
        'nexus:tasks:high_priority holds an item of another program, which was left there: {"id": '
        "1}; set MONITORING_KEY_PREFIX to a name of this application's own, the same for its "
        "workers, submitters and collector"
    )
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.queue, again.item) == (str(error), error.queue, error.item)
