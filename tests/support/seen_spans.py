"""Spans as a trace backend gives them back, whichever one, and what a whole research task is."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["SeenSpan", "check_research_task", "from_jaeger", "from_tempo"]


class SeenSpan(NamedTuple):
    """A stored span; ids in hexadecimal."""

    span_id: str
    parent_id: str | None
    name: str
    kind: str
    is_error: bool
    message: str | None
    attributes: Mapping[str, Any]


def from_jaeger(spans: Sequence[Mapping[str, Any]]) -> list[SeenSpan]:
    """Of ``/api/traces/{id}``, ``data[0].spans``."""
    found = []
    for span in spans:
        tags = {tag["key"]: tag["value"] for tag in span["tags"]}
        parents = [r["spanID"] for r in span["references"] if r["refType"] == "CHILD_OF"]
        assert len(parents) <= 1
        found.append(
            SeenSpan(
                span["spanID"],
                parents[0] if parents else None,
                span["operationName"],
                tags.get("span.kind", ""),
                tags.get("otel.status_code") == "ERROR",
                tags.get("otel.status_description"),
                tags,
            )
        )
    return found


def from_tempo(batches: Sequence[Mapping[str, Any]]) -> list[SeenSpan]:
    """Of ``/api/traces/{id}``, ``batches``: OTLP in protobuf's JSON, ids in base64."""
    found = []
    for batch in batches:
        for scope in batch["scopeSpans"]:
            for span in scope["spans"]:
                pairs = {pair["key"]: pair["value"] for pair in span["attributes"]}
                status = span.get("status", {})
                parent = span.get("parentSpanId")
                found.append(
                    SeenSpan(
                        base64.b64decode(span["spanId"]).hex(),
                        base64.b64decode(parent).hex() if parent else None,
                        span["name"],
                        span["kind"].removeprefix("SPAN_KIND_").lower(),
                        status.get("code") == "STATUS_CODE_ERROR",
                        status.get("message"),
                        {key: next(iter(value.values())) for key, value in pairs.items()},
                    )
                )
    return found


def check_research_task(spans: Sequence[SeenSpan]) -> None:
    """Assert that they are ``tests.support.interop_task``: one tree, whole, nothing changed."""
    by_id = {span.span_id: span for span in spans}
    kind = {key: str(span.attributes["nexus.span.kind"]) for key, span in by_id.items()}
    assert Counter(kind.values()) == {"research_task": 1, "phase": 2, "enqueue": 4, "job": 6}
    roots = [span for span in spans if span.parent_id is None]
    assert [span.name for span in roots] == ["research_task task"]
    parents = Counter(
        (kind[span.span_id], kind[span.parent_id]) for span in spans if span.parent_id is not None
    )
    expected = {("phase", "research_task"): 2, ("enqueue", "phase"): 4, ("job", "enqueue"): 6}
    assert parents == expected
    names = Counter(span.name for span in spans)
    assert names == {
        **{"research_task task": 1, "phase search": 1, "phase extraction": 1},
        **{"enqueue fetch": 4, "job fetch": 6},
    }
    jobs = [span for span in spans if kind[span.span_id] == "job"]
    assert {span.kind for span in jobs} == {"consumer"}
    outcomes = Counter(str(span.attributes["nexus.outcome"]) for span in jobs)
    assert outcomes == {"completed": 2, "failed": 2, "retrying": 2}
    ends = {
        (str(span.attributes["nexus.outcome"]), span.is_error, span.message or None)
        for span in jobs
    }
    assert ends == {
        ("completed", False, None),
        ("failed", True, "no such school"),
        ("retrying", True, "HTTP 429"),
    }
    assert {str(span.attributes["nexus.project.id"]) for span in spans} == {"alpha"}
