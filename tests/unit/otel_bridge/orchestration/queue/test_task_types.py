"""The request of ``POST /tasks`` and the job model."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from otel_bridge.orchestration.queue.task_types import (
    Priority,
    QueuedJob,
    ResearchTaskRequest,
    TaskStatus,
    TaskType,
    field_error_sentence,
    queue_of,
)
from otel_bridge.publish.redis_keys import DEFAULT_KEYS

BODY: dict[str, Any] = {
    "title": "Private Schools GA",
    "research_query": "List and profile private K-12 schools in Georgia",
    "research_type": "data_aggregation",
    "user_id": "dev",
    "project_id": "default_project",
    "data_aggregation_config": {
        "entities": ["private schools"],
        "attributes": ["address", "tuition", "enrollment"],
        "search_space": "in Georgia",
        "domain_hint": "schools",
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(json.dumps(BODY))
    *parents, last = path.split(".")
    target = body
    for part in parents:
        target = target[part]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return body


def test_the_documented_body_is_accepted_unchanged() -> None:
    """The body of the README's curl line is a valid request and survives a round trip."""
    request = ResearchTaskRequest.model_validate_json(json.dumps(BODY))
    assert request.model_dump(mode="json") == BODY
    assert ResearchTaskRequest.model_validate(request.model_dump(mode="json")) == request


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("title", ...),
        ("title", ""),
        ("title", "   "),
        ("title", 7),
        ("title", "x" * 201),
        ("research_query", "x" * 2001),
        ("research_type", "poetry"),
        ("project_id", "two words"),
        ("project_id", "{0}"),
        ("user_id", "a" * 129),
        ("data_aggregation_config", ...),
        ("data_aggregation_config.entities", []),
        ("data_aggregation_config.entities", ["schools"] * 21),
        ("data_aggregation_config.entities", "private schools"),
        ("data_aggregation_config.attributes", []),
        ("data_aggregation_config.attributes", ["a"] * 51),
        ("data_aggregation_config.search_space", ...),
        ("data_aggregation_config.serach_space", "in Georgia"),
        ("unheard_of", 1),
    ],
)
def test_a_wrong_field_is_refused_by_name(path: str, value: Any) -> None:
    """Whatever is wrong with a request, the sentence that refuses it names the field."""
    with pytest.raises(ValidationError) as caught:
        ResearchTaskRequest.model_validate_json(json.dumps(changed(path, value)))
    assert path in field_error_sentence(caught.value)


def test_the_error_sentence_does_not_repeat_the_value() -> None:
    """The text that an untrusted client sent does not appear in the answer."""
    with pytest.raises(ValidationError) as caught:
        ResearchTaskRequest.model_validate(changed("project_id", "<script>"))
    assert "<script>" not in field_error_sentence(caught.value)


def test_the_project_may_be_left_out() -> None:
    """A request without project and user is valid: its events go to unrestricted readers."""
    body = changed("project_id", ...)
    del body["user_id"]
    assert ResearchTaskRequest.model_validate(body).project_id is None


def test_task_types_and_statuses_are_the_agreed_ones() -> None:
    """The texts on the wire are exactly those that existing coordinators and workers use."""
    assert {
        "search_space_enum",
        "data_aggregation_search",
        "data_aggregation_extract",
        "search",
    } == set(TaskType)
    assert {"pending", "processing", "completed", "failed", "retrying"} == set(TaskStatus)


def test_priorities_map_to_the_queues_in_claiming_order() -> None:
    """Each priority has its queue, and the order of claiming is the order of the enum."""
    assert tuple(queue_of(priority, DEFAULT_KEYS) for priority in Priority) == DEFAULT_KEYS.queues


@pytest.mark.parametrize(
    ("parent", "payload", "expected"),
    [
        ("p", {"task_id": "q"}, "p"),
        (None, {"task_id": "q"}, "q"),
        (None, {"task_id": 7}, None),
        (None, {}, None),
    ],
)
def test_the_parent_is_the_field_or_the_payloads_task_id(
    parent: str | None, payload: dict[str, Any], expected: str | None
) -> None:
    """A job names its research task itself, or in its payload, or not at all."""
    assert expected == QueuedJob(id="j", type="t", parent_task_id=parent, payload=payload).parent_id
