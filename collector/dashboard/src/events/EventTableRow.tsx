/** One row of the event table: an event, a gap, or the place where the page was paused. */
import { memo } from "react";
import type { MonitoringEvent } from "../feed/wire";
import {
  count,
  dateTime,
  duration,
  eventLabel,
  eventText,
  jobName,
  shortId,
  timeOfDay,
  timeOfDayMs,
  withSpaces,
} from "../lib/format";
import { NeutralIcon, StatusIcon } from "../lib/icons";
import type { GapRow, Row } from "./table-rows";

interface EventTableRowProps {
  row: Row;
  index: number;
  topPx: number;
  isChosen: boolean;
  /** Title of its research task. */
  title: string | undefined;
  /** When today started, ms: an older time has its date. */
  todayMs: number;
  /** Whether the gap is being filled. */
  isFilling: boolean;
  onChoose: (position: string) => void;
  onFill: (gapKey: string) => void;
}

export const EventTableRow = memo(function EventTableRow(props: EventTableRowProps) {
  const { row, index, topPx, isChosen, title, todayMs, isFilling, onChoose, onFill } = props;
  const place = { "aria-rowindex": index + 2, style: { top: topPx } };
  if (row.kind === "pause") {
    return (
      <div className="row row-mark" role="row" {...place}>
        <span role="cell">
          {count(row.count)} {row.count === 1 ? "event" : "events"} came while paused
        </span>
      </div>
    );
  }
  if (row.kind === "gap") {
    return (
      <div className="row row-mark" role="row" {...place}>
        <span role="cell">
          {gapText(row)}
          {isFilling && " · reading the log…"}
          {!isFilling && !row.isLost && (
            <button type="button" className="link" onClick={() => onFill(row.k)}>
              Show
            </button>
          )}
        </span>
      </div>
    );
  }
  const { event } = row;
  const label = eventLabel(event);
  return (
    <div
      className={`row${isChosen ? " is-chosen" : ""}${label.status === "failed" ? " is-bad" : ""}`}
      role="row"
      {...place}
      aria-selected={isChosen}
      onClick={() => onChoose(isChosen ? "" : row.k)}
    >
      <span role="cell" className="num muted c-time" title={dateTime(row.at)}>
        {row.at < todayMs
          ? `${dateTime(row.at).slice(5, 10)} ${timeOfDay(row.at).slice(0, 5)}`
          : timeOfDayMs(row.at)}
      </span>
      <span role="cell" className="c-event">
        {label.status ? <StatusIcon status={label.status} /> : <NeutralIcon />}
        {label.text}
      </span>
      <span role="cell" className="c-type">
        {withSpaces(event.task_type ?? event.phase ?? "")}
      </span>
      <span role="cell" className="c-job id" title={event.task_id}>
        {event.task_id === event.parent_task_id ? "" : jobText(event)}
      </span>
      <span role="cell" className="col-task c-task" dir="auto" title={event.parent_task_id}>
        {event.parent_task_id ? (title ?? shortId(event.parent_task_id)) : ""}
      </span>
      <span role="cell" className="col-project c-project">
        {event.project_id}
      </span>
      <span role="cell" className="num c-worker">
        {event.worker_id}
      </span>
      <span role="cell" className="num right c-try">
        {event.retry_count ? event.retry_count + 1 : ""}
      </span>
      <span role="cell" className="num right c-took">
        {duration(event.duration_ms)}
      </span>
      <span role="cell" className="c-message" dir="auto">
        {eventText(event)}
      </span>
    </div>
  );
});

function jobText(event: MonitoringEvent): string {
  const { task_id: job, parent_task_id: task, name, task_type: type } = event;
  return job === undefined ? "" : jobName(job, task, type ?? name);
}

function gapText({ count: missing, isLost }: GapRow): string {
  const subject = missing === null ? "Events" : count(missing);
  return isLost ? `${subject} no longer in the log` : `${subject} not shown`;
}

/** The heads of the columns. */
export function ColumnHeads() {
  return (
    <div className="row row-head" role="row" aria-rowindex={1}>
      <span role="columnheader">Time</span>
      <span role="columnheader">Event</span>
      <span role="columnheader">Type</span>
      <span role="columnheader">Job</span>
      <span role="columnheader" className="col-task">
        Task
      </span>
      <span role="columnheader" className="col-project">
        Project
      </span>
      <span role="columnheader">Worker</span>
      <span role="columnheader" className="right">
        Try
      </span>
      <span role="columnheader" className="right">
        Took
      </span>
      <span role="columnheader">Message</span>
    </div>
  );
}
