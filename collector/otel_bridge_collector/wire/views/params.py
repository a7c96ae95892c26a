"""
What each view takes: its parameters, as ``/ws/views`` reads them.

All times are integer milliseconds since the Unix epoch, UTC. Equal parameters are equal values, so
that clients who ask for the same share one subscription.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from otel_bridge_collector.wire.messages import Status

__all__ = [
    "MAX_FOLDS",
    "MAX_PINS",
    "MAX_ROWS",
    "MAX_TEXT",
    "Anchor",
    "AnchorKey",
    "AnchorRow",
    "EventsParams",
    "FailureParams",
    "FailuresParams",
    "JobParams",
    "LinesParams",
    "ListParams",
    "OverviewParams",
    "QueueParams",
    "SearchParams",
    "StripParams",
    "TasksParams",
    "TreeParams",
    "WorkerParams",
]

MAX_ROWS = 200
"""Rows of one window, at most."""

MAX_FOLDS = 500
"""Nodes of a tree that differ from its default fold, at most."""
MAX_PINS = 50
"""Tasks that a list starts with whatever their order, at most."""
MAX_TEXT = 200
"""Characters of a text to search for, at most."""

_MAX_MS = 8_640_000_000_000_000
"""The last moment that JavaScript's ``Date`` can express."""

_Text = Annotated[str, Field(max_length=MAX_TEXT)]
_Moment = Annotated[int, Field(ge=0, le=_MAX_MS)]
_Id = Annotated[str, Field(max_length=512)]


class _Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class AnchorRow(_Params):
    """
    A window that starts at a row's number: where a scroll bar was dragged to.

    Other values raise ``ValidationError``, as do unknown fields.

    Attributes:
        row: From 0 to 10,000,000; past the end the window moves back.
    """

    row: int = Field(ge=0, le=10_000_000)


class AnchorKey(_Params):
    """
    A window that holds on to one row, whatever comes or goes above it.

    Other values raise ``ValidationError``, as do unknown fields.

    Attributes:
        key: ``k`` of that row, at most 512 characters; one that is not listed counts as the first
            row.
        above: How many rows to show above that one, 0 (the default) to 200.
    """

    key: _Id
    above: int = Field(default=0, ge=0, le=MAX_ROWS)


Anchor = Literal["end"] | AnchorRow | AnchorKey


class OverviewParams(_Params):
    """
    The parameters of the view ``overview``; other values or fields raise ``ValidationError``.

    Attributes:
        project: Count only what belongs to this project, at most 512 characters; default None: all.
    """

    project: _Id | None = None


class ListParams(_Params):
    """
    The parameters of ``queues`` and ``workers``; those of ``failures`` add filters.

    Other values or fields raise ``ValidationError``.

    Attributes:
        project: Only failures of this project, at most 512 characters; workers are listed all the
            same, but jobs of other projects are not named. Default None: of all.
        at: Where the window starts: a row, a key or ``end``; default: the first row.
        count: Rows in it, 1 to 200; default 60.
    """

    project: _Id | None = None
    at: Anchor = AnchorRow(row=0)
    count: int = Field(default=60, ge=1, le=MAX_ROWS)


class TasksParams(_Params):
    """
    The parameters of the view ``tasks``; a task is listed if it passes all filters that are given.

    Other values or fields raise ``ValidationError``.

    Attributes:
        project: Only tasks of this project, at most 512 characters; default None: of all.
        status: Only tasks of one of these statuses, or with a job of one of them; ``completed``
            asks for the task's own status alone, for most tasks have completed jobs. At most 6;
            default None: all. An empty list passes none.
        type: Only tasks of exactly this ``task_type``, or with a phase of exactly this name, at
            most 200 characters; default None: all.
        text: Only tasks with this text in title, id, project, type, domain or error, or in name,
            job id or error of a phase, job or span in memory, in any case, at most 200 characters;
            default None, as an empty one: all. New matches of the latter come up to 10 s late.
        sort: ``attention`` (default): stalled, a worker lost with a job of it, jobs failed while it
            runs, failed, waiting in a stuck queue, a job far slower than others, other open ones,
            those of which nothing runs, completed; of each the newest first, then by id.
            ``newest``: the last start first; ``slowest``: the longest first, open ones
            until now.
        group: ``project``: the tasks of a project together, projects by name, those without one
            last; ``status``: stalled, failed, running, to be tried again, waiting, completed.
            ``sort`` orders within a group. Default None: no groups.
        pins: These tasks before all others, in this order, as far as they pass the filters. At most
            50; default: none.
        at: Where the window starts: a row, a key or ``end``; default: the first row.
        count: Rows in it, 1 to 200; default 40.
        keys: Show these tasks in this order, as far as they pass the filters, and no window: a list
            that stands still under a pointer. At most 200; default None: a window.
    """

    project: _Id | None = None
    status: tuple[Status, ...] | None = Field(default=None, max_length=6)
    type: _Text | None = None
    text: _Text | None = None
    sort: Literal["attention", "newest", "slowest"] = "attention"
    group: Literal["project", "status"] | None = None
    pins: tuple[_Id, ...] = Field(default=(), max_length=MAX_PINS)
    at: Anchor = AnchorRow(row=0)
    count: int = Field(default=40, ge=1, le=MAX_ROWS)
    keys: tuple[_Id, ...] | None = Field(default=None, max_length=MAX_ROWS)


class FailuresParams(ListParams):
    """
    The parameters of the view ``failures``; a cause is listed if it passes all filters given.

    Other values or fields raise ``ValidationError``.

    Attributes:
        project: As in ``ListParams``, as are ``at`` and ``count``.
        task: Only failures of this research task, or of the work of this trace that names no task,
            at most 512 characters; default None: of all.
        type: Only causes whose newest failure has this job type or phase, at most 200 characters;
            default None: all.
        text: Only causes with this text in error, type, phase, project or one of the ids shown, in
            any case, at most 200 characters; default None, as an empty one: all.
    """

    task: _Id | None = None
    type: _Text | None = None
    text: _Text | None = None


class FailureParams(_Params):
    """
    The parameters of the view ``failure``; other values or fields raise ``ValidationError``.

    Attributes:
        failure: Its key in the view ``failures``, at most 800 characters: ids of projects have at
            most 512, causes 160.
        project: Only if it is of this project, at most 512 characters; default None: of any.
        count: The newest so many failures, 1 to 200; default 60.
    """

    failure: str = Field(max_length=800)
    project: _Id | None = None
    count: int = Field(default=60, ge=1, le=MAX_ROWS)


class TreeParams(_Params):
    """
    The parameters of the view ``tree``; other values or fields raise ``ValidationError``.

    Without a filter (``zoom``, ``status``, ``type``, ``text``) all rows are listed but those below
    a folded one. With filters the rows that pass all of them are listed with all rows above them,
    and folds do not count.

    Attributes:
        task: The id of the research task, or the trace id of work without one.
        at: Where the window starts: a row, a key or ``end``; default: the first row. A key that is
            folded away or gone counts as its nearest row above that is listed, else as row 0.
        count: Rows in it, 1 to 200; default 80.
        default: Whether rows are ``open`` (default) or ``folded`` at first.
        except_: As ``except``: keys of the rows that differ from ``default``, at most 500; default:
            none. Sorted and each once here, so that their order does not matter.
        zoom: Only rows that were open for a moment from the first time to the second, ms; default
            None: all. A start after the end is a ``ValidationError``.
        status: Only rows of these statuses, at most 6; default None: all.
        type: Only rows of exactly this job type, and phases of this name, at most 200 characters;
            default None: all.
        text: Only rows with this text in name, job id, type, worker or error, in any case, at most
            200 characters; default None, as an empty one: all.
    """

    task: _Id
    at: Anchor = AnchorRow(row=0)
    count: int = Field(default=80, ge=1, le=MAX_ROWS)
    default: Literal["open", "folded"] = "open"
    except_: tuple[_Id, ...] = Field(default=(), max_length=MAX_FOLDS, alias="except")
    zoom: tuple[_Moment, _Moment] | None = None
    status: tuple[Status, ...] | None = Field(default=None, max_length=6)
    type: _Text | None = None
    text: _Text | None = None

    @field_validator("except_")
    @classmethod
    def _sorted(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(keys)))

    @field_validator("zoom")
    @classmethod
    def _ordered(cls, zoom: tuple[int, int] | None) -> tuple[int, int] | None:
        if zoom is not None and zoom[0] > zoom[1]:
            raise ValueError("the first time must not be after the second")
        return zoom


class StripParams(_Params):
    """
    The parameters of the view ``strip``; other values or fields raise ``ValidationError``.

    Attributes:
        task: As in ``TreeParams``.
        buckets: Bars over the whole time of the task, at most; 1 to 240, default 120.
    """

    task: _Id
    buckets: int = Field(default=120, ge=1, le=240)


class JobParams(_Params):
    """
    The parameters of the view ``job``; other values or fields raise ``ValidationError``.

    Attributes:
        task: The id of its research task, or the trace id of work without one.
        job: Its id, at most 512 characters.
    """

    task: _Id
    job: _Id


class LinesParams(_Params):
    """
    The parameters of the view ``lines``; other values or fields raise ``ValidationError``.

    Attributes:
        task: The id of its research task, or the trace id of work without one.
        node: The key of the node in the view ``tree``, at most 512 characters.
        text: Only lines with this text, in any case, at most 200 characters; default None, as an
            empty one: all.
        count: The newest so many, 1 to 200; default 200.
    """

    task: _Id
    node: _Id
    text: _Text | None = None
    count: int = Field(default=MAX_ROWS, ge=1, le=MAX_ROWS)


class WorkerParams(_Params):
    """
    The parameters of the view ``worker``; other values or fields raise ``ValidationError``.

    Attributes:
        worker: Its key in the view ``workers``, at most 512 characters; where that life of its
            process is no longer listed, the newest under the same id is shown.
        project: Only jobs of this project are named, at most 512 characters; default None: all.
    """

    worker: _Id
    project: _Id | None = None


class QueueParams(_Params):
    """
    The parameters of the view ``queue``; other values or fields raise ``ValidationError``.

    Attributes:
        queue: Its key in the view ``queues``, at most 512 characters.
        project: Only jobs of this project are listed, at most 512 characters; default None: all.
    """

    queue: _Id
    project: _Id | None = None


class EventsParams(_Params):
    """
    The parameters of the view ``events``; an event is listed if it passes all filters given.

    ``GET /monitor/events`` takes the same filters, for the events before these; there ``project``
    is ``project_id`` and ``task`` is ``task_id``. Other values or fields raise ``ValidationError``.

    Attributes:
        project: Only events of this project, and those of workers and queues, which belong to
            none; at most 512 characters. Default None: of all.
        task: Only events of this research task, or of the work of this trace that names no task;
            also of a job with this id. Default None: of all.
        job: Only events of the job with this id; default None: of all.
        type: Only events of exactly this job type or phase, at most 200 characters; default None:
            all.
        status: Only events with one of these statuses, at most 6: that which the type of the event
            says (``task_failed``: ``failed``), of ends of phases and spans ``failed`` or
            ``completed``, else the event's own ``status``. Default None: all; an empty list passes
            none.
        text: Only events with this text in type, ids, name, title, queue, message, error, phase or
            project as the event itself has them, in any case, at most 200 characters; default None,
            as an empty one: all.
        all: Also heartbeats, queue depths, statistics, and events of spans that are no task, phase
            or job; default False.
        count: The newest so many, 1 to 200; default 60.
    """

    project: _Id | None = None
    task: _Id | None = None
    job: _Id | None = None
    type: _Text | None = None
    status: tuple[Status, ...] | None = Field(default=None, max_length=6)
    text: _Text | None = None
    all: bool = False
    count: int = Field(default=60, ge=1, le=MAX_ROWS)


class SearchParams(_Params):
    """
    The parameters of the view ``search``; other values or fields raise ``ValidationError``.

    Attributes:
        text: What to find, in any case, 1 to 200 characters.
        among: ``tasks``: in titles, ids, types and projects of tasks; ``nodes`` (default): in
            names, job ids and errors of what tasks consist of.
        project: Only in tasks of this project, at most 512 characters; default None: in all.
        count: Rows, at most: jobs whose id ends with the whole text first, then the newest start
            first; 1 to 200, default 20.
    """

    text: str = Field(min_length=1, max_length=MAX_TEXT)
    among: Literal["tasks", "nodes"] = "nodes"
    project: _Id | None = None
    count: int = Field(default=20, ge=1, le=MAX_ROWS)
