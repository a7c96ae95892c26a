/** The event table: the newest events first, with the details of the chosen one. */
import { memo, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { type MonitoringFeed, useSlice } from "../feed/useMonitoringFeed";
import type { MonitoringEvent } from "../feed/wire";
import { useMedia } from "../lib/browser";
import { useFixedRows } from "../lib/fixed-rows";
import {
  count,
  dateTime,
  duration,
  eventLabel,
  eventText,
  shortId,
  shortJob,
  timeOfDayMs,
  withSpaces,
} from "../lib/format";
import { NeutralIcon, StatusIcon } from "../lib/icons";
import { type EventWish as EventFilter, EventView } from "../old/event-view";
import type { Row } from "../old/slices";
import { EventDetail } from "./EventDetail";

const ROW_PX = 28;
const NARROW_ROW_PX = 50;

interface RecentEventsTableProps {
  feed: MonitoringFeed;
  /** Events that this filter does not match are not shown. */
  wish: EventFilter;
  /** Titles of research tasks by id. */
  titles: ReadonlyMap<string, string>;
  /** Id of the event whose details are open; empty: none. */
  chosen: string;
  onChoose: (eventId: string) => void;
  onAll: (isAll: boolean) => void;
  onResume: () => void;
  onFocus: (taskId: string) => void;
  traceLink: (traceId: string | undefined) => string | null;
}

/** The virtualised event table; it does not move while it is scrolled down or a row is chosen. */
export const RecentEventsTable = memo(function RecentEventsTable(props: RecentEventsTableProps) {
  const {
    feed,
    wish: filter,
    titles,
    chosen,
    onChoose,
    onAll,
    onResume,
    onFocus,
    traceLink,
  } = props;
  const { rows, rewrites } = useSlice(feed.store, "events");
  const hold = useSlice(feed.store, "hold");
  const view = useRef<EventView>(null);
  view.current ??= new EventView();
  const passed = view.current.update(rows, rewrites, filter);

  const scroller = useRef<HTMLDivElement>(null);
  const [frozen, setFrozen] = useState<readonly Row[] | null>(null);
  const shown = frozen ?? passed;
  const isNarrow = useMedia("(max-width: 699px)");
  const rowPx = isNarrow ? NARROW_ROW_PX : ROW_PX;
  const { first, end, slotOf, totalPx, scrollTo } = useFixedRows(scroller, shown.length, rowPx);

  const latest = useRef({ passed, shown, chosen, onChoose, scrollTo });
  latest.current = { passed, shown, chosen, onChoose, scrollTo };

  // Another filter starts at the top of the table again.
  const filterKey = JSON.stringify(filter);
  const lastFilterKey = useRef(filterKey);
  useEffect(() => {
    if (lastFilterKey.current === filterKey) return;
    lastFilterKey.current = filterKey;
    setFrozen(null);
    latest.current.onChoose("");
    scroller.current?.scrollTo({ top: 0 });
  }, [filterKey]);

  const onScroll = useCallback(() => {
    const top = scroller.current?.scrollTop ?? 0;
    const { passed, chosen } = latest.current;
    setFrozen((old) => (top > ROW_PX / 2 ? (old ?? passed) : chosen ? old : null));
  }, []);

  const choose = useCallback((eventId: string) => {
    latest.current.onChoose(eventId);
    if (eventId) setFrozen((old) => old ?? latest.current.passed);
    else if ((scroller.current?.scrollTop ?? 0) <= ROW_PX / 2) setFrozen(null);
  }, []);
  const showLatest = () => {
    onChoose("");
    setFrozen(null);
    scroller.current?.scrollTo({ top: 0 });
    if (hold.isPaused) onResume();
  };

  const chosenAt = useMemo(() => indexOf(shown, chosen), [shown, chosen]);
  // The event of a link is among the rows only after the first snapshot.
  const isFound = chosenAt >= 0;
  useEffect(() => {
    const { passed, chosen, scrollTo } = latest.current;
    const at = indexOf(passed, chosen);
    if (!isFound || at < 0) return;
    setFrozen((old) => old ?? passed);
    scrollTo(passed.length - 1 - at);
  }, [isFound]);

  const newest = frozen?.[frozen.length - 1]?.n ?? 0;
  const newRows = useMemo(() => {
    if (!frozen) return 0;
    let index = passed.length;
    while (index > 0 && (passed[index - 1] as Row).n > newest) index--;
    return passed.length - index;
  }, [frozen, passed, newest]);
  const newCount = hold.isPaused ? hold.newEvents : newRows;

  useEffect(() => {
    const onKey = (event: Event) => {
      const by = (event as CustomEvent<number>).detail;
      const { shown, chosen, scrollTo } = latest.current;
      if (shown.length === 0) return;
      const at = chosen === "" ? -1 : shown.length - 1 - indexOf(shown, chosen);
      let to = Math.max(0, Math.min(shown.length - 1, at + by));
      while (to > 0 && to < shown.length - 1 && shown[shown.length - 1 - to]?.kind !== "event") {
        to += Math.sign(by);
      }
      const row = shown[shown.length - 1 - to];
      choose(row?.kind === "event" ? row.event.event_id : "");
      scrollTo(to);
    };
    const onEscape = () => choose("");
    window.addEventListener("ob:step", onKey);
    window.addEventListener("ob:escape", onEscape);
    return () => {
      window.removeEventListener("ob:step", onKey);
      window.removeEventListener("ob:escape", onEscape);
    };
  }, [choose]);

  const indexes = Array.from({ length: Math.max(0, end - first) }, (_, offset) => first + offset);
  const detail = shown[chosenAt];
  return (
    <section className="panel events" aria-label="Events">
      <header className="panel-head">
        <h2>Events</h2>
        <span className="muted num">{count(shown.length)}</span>
        <label className="check">
          <input
            type="checkbox"
            checked={filter.isAll}
            onChange={(event) => onAll(event.target.checked)}
          />
          heartbeats and statistics
        </label>
        <span className="panel-end">
          {(hold.isPaused || frozen !== null) && (
            <button type="button" className="pill" onClick={showLatest} data-testid="new-events">
              {newCount > 0 ? `${count(newCount)} new` : "Latest"} ↑
            </button>
          )}
        </span>
      </header>
      <div
        className="table"
        role="table"
        aria-label="Recent events, newest first"
        aria-rowcount={shown.length + 1}
      >
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
        <div className="table-body" ref={scroller} onScroll={onScroll} role="rowgroup" tabIndex={0}>
          <div className="table-space" style={{ height: totalPx }}>
            {indexes.map((index) => {
              const at = shown.length - 1 - index;
              const row = shown[at];
              if (!row) return null;
              return (
                <TableRow
                  key={slotOf(index)}
                  row={row}
                  index={index}
                  top={index * rowPx}
                  isChosen={at === chosenAt}
                  title={row.kind === "event" ? titles.get(row.event.parent_task_id ?? "") : ""}
                  onChoose={choose}
                />
              );
            })}
          </div>
          {shown.length === 0 && (
            <div className="none" role="row">
              <span role="cell">{emptyText(filter, rows.length)}</span>
            </div>
          )}
        </div>
      </div>
      {detail?.kind === "event" && (
        <EventDetail
          event={detail.event}
          onClose={() => choose("")}
          onFocus={onFocus}
          traceLink={traceLink}
        />
      )}
    </section>
  );
});

function indexOf(rows: readonly Row[], eventId: string): number {
  if (eventId === "") return -1;
  return rows.findIndex((row) => row.kind === "event" && row.event.event_id === eventId);
}

function emptyText(filter: EventFilter, all: number): string {
  const isFiltered = filter.task || filter.type || filter.status || filter.text;
  if (isFiltered && all > 0) return `No matches among the last ${count(all)} events.`;
  return "No events yet. They appear here as soon as they happen.";
}

interface TableRowProps {
  row: Row;
  index: number;
  top: number;
  isChosen: boolean;
  title: string | undefined;
  onChoose: (eventId: string) => void;
}

const TableRow = memo(function TableRow(props: TableRowProps) {
  const { row, index, top, isChosen, title, onChoose } = props;
  const style = { top };
  if (row.kind !== "event") {
    return (
      <div className="row row-mark" role="row" aria-rowindex={index + 2} style={style}>
        <span role="cell">{noticeText(row)}</span>
      </div>
    );
  }
  const { event } = row;
  const label = eventLabel(event);
  return (
    <div
      className={`row${isChosen ? " is-chosen" : ""}${label.status === "failed" ? " is-bad" : ""}`}
      role="row"
      aria-rowindex={index + 2}
      aria-selected={isChosen}
      style={style}
      onClick={() => onChoose(isChosen ? "" : event.event_id)}
    >
      <span role="cell" className="num muted c-time" title={dateTime(row.at)}>
        {timeOfDayMs(row.at)}
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
  return event.task_id === undefined ? "" : shortJob(event.task_id, event.parent_task_id);
}

function noticeText(row: Exclude<Row, { kind: "event" }>): string {
  if (row.kind === "resumed") {
    return `${count(row.count)} ${row.count === 1 ? "event" : "events"} came while paused`;
  }
  const subject = row.dropped === null ? "Events" : `${count(row.dropped)} events`;
  const reason = {
    slow: "this page was too slow",
    trimmed: "the log was trimmed before this page reconnected",
    epoch: "the log was created again",
    malformed: "the position to resume from was invalid",
    overflow: "too many events at once",
  }[row.reason];
  return `${subject} missing here: ${reason}. Everything else on the page is up to date.`;
}
