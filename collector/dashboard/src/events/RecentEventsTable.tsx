/** The event table: the newest events first, older ones from the log, details of the chosen one. */
import { memo, useCallback, useEffect, useLayoutEffect, useRef, useState } from "react";
import { useMedia } from "../lib/browser";
import { useFixedRows } from "../lib/fixed-rows";
import { count } from "../lib/format";
import { ChevronIcon } from "../lib/icons";
import { usePanelKeys } from "../lib/keyboard";
import { Refreshing } from "../lib/ListNote";
import { Notice } from "../lib/Notice";
import { useTaskTitles } from "../tasks/task-titles";
import { type MonitoringFeed, useIsPaused } from "../views/useMonitoringFeed";
import { EventDetail } from "./EventDetail";
import { ColumnHeads, EventTableRow } from "./EventTableRow";
import type { EventFilters } from "./log-pages";
import { emptyText, OlderEvents } from "./OlderEvents";
import { indexOfEvent, type Row } from "./table-rows";
import { useChosenEvent } from "./use-chosen-event";
import { useEventTable } from "./use-event-table";
import { useHeldRow } from "./use-held-row";
import { useTaskIds } from "./use-task-ids";

const ROW_PX = 28;
const NARROW_ROW_PX = 50;
/** A page that was dropped is read again when so few rows above the visible ones are left. */
const ROWS_AHEAD = 30;

export interface RecentEventsTableProps {
  feed: MonitoringFeed;
  /** Which events to show; default: all but heartbeats, queue depths and statistics. */
  filters?: EventFilters;
  /** Position in the log (or id) of the event whose details are open; empty: none. */
  chosen?: string;
  /** Called with the position of the chosen event, or an empty text. */
  onChoose?: (position: string) => void;
  /** Called to show heartbeats, queue depths and statistics too; default: no such choice. */
  onAll?: (isAll: boolean) => void;
  /** Called to end the pause of the page. */
  onResume?: () => void;
  /** Called to show a research task, and one of its jobs; default: no such button. */
  onFocus?: (taskId: string, jobId: string | null) => void;
  /** Called to fold the table away; undefined or left out: no such button. */
  onFold?: (() => void) | undefined;
  /** The URL of a trace; default: no link. */
  traceLink?: (traceId: string | undefined) => string | null;
}

const NO_FILTERS: EventFilters = {};
const noTraceLink = () => null;

/** The virtualised event table; it does not move while it is scrolled down or a row is chosen. */
export const RecentEventsTable = memo(function RecentEventsTable(props: RecentEventsTableProps) {
  const { feed, filters = NO_FILTERS, onAll, onResume, onFocus, onFold } = props;
  const { traceLink = noTraceLink } = props;
  const [ownChoice, setOwnChoice] = useState("");
  const chosen = props.chosen ?? ownChoice;
  const onChoose = props.onChoose ?? setOwnChoice;
  const isPaused = useIsPaused(feed);

  const scroller = useRef<HTMLDivElement>(null);
  const [isFollowing, setFollowing] = useState(true);
  const table = useEventTable(feed, filters, isFollowing);
  const { rows, older, isRefreshing } = table;
  const isNarrow = useMedia("(max-width: 699px)");
  const rowPx = isNarrow ? NARROW_ROW_PX : ROW_PX;
  const hasEndRow = older.state !== "end" || table.error !== "";
  const [held, holdVisible] = useHeldRow(rows, isFollowing);
  const shown = useFixedRows(scroller, rows.length + (hasEndRow ? 1 : 0), rowPx, { held });
  const { first, end, slotOf, totalPx, topmost, inView, scrollTo } = shown;
  useLayoutEffect(() => holdVisible(topmost ?? 0, inView), [holdVisible, topmost, inView]);

  const latest = useRef({ rows, chosen, onChoose, scrollTo });
  latest.current = { rows, chosen, onChoose, scrollTo };

  const onScroll = useCallback(() => {
    const isDown = (scroller.current?.scrollTop ?? 0) > ROW_PX / 2;
    if (isDown) setFollowing(false);
    else if (latest.current.chosen === "") setFollowing(true);
  }, []);
  const choose = useCallback((position: string) => {
    latest.current.onChoose(position);
    setFollowing(position === "" && (scroller.current?.scrollTop ?? 0) <= ROW_PX / 2);
  }, []);
  const showLatest = () => {
    onChoose("");
    setFollowing(true);
    scroller.current?.scrollTo({ top: 0 });
    if (isPaused) onResume?.();
  };

  const chosenAt = indexOfEvent(rows, chosen);
  const chosenRow = rows[chosenAt];
  const loaded = chosenRow?.kind === "event" ? chosenRow : null;
  const detail = useChosenEvent(feed, chosen, loaded, table.isLoaded);
  // Other filters start at the top of the table again. The chosen event is closed, unless Back
  // brings it with them, or its own task was chosen.
  const filterKey = JSON.stringify(filters);
  const ownTask = detail.state === "found" ? detail.row.event.parent_task_id : undefined;
  const isOwnTask = ownTask !== undefined && ownTask === filters.task;
  const lastShown = useRef({ filterKey, chosen });
  useEffect(() => {
    const last = lastShown.current;
    lastShown.current = { filterKey, chosen };
    if (last.filterKey === filterKey) return;
    scroller.current?.scrollTo({ top: 0 });
    const isKept = chosen !== "" && (chosen !== last.chosen || isOwnTask);
    setFollowing(!isKept);
    if (!isKept && chosen !== "") latest.current.onChoose("");
  }, [filterKey, chosen, isOwnTask]);

  // The event of a link is among the rows only after the first answer; Back brings another one.
  const isFound = chosenAt >= 0;
  useEffect(() => {
    const { rows, scrollTo } = latest.current;
    if (isFound) {
      setFollowing(false);
      scrollTo(rows.length - 1 - indexOfEvent(rows, chosen));
    } else if (chosen === "" && (scroller.current?.scrollTop ?? 0) <= ROW_PX / 2) {
      setFollowing(true);
    }
  }, [isFound, chosen]);

  usePanelKeys({
    "ob:step": (by) => {
      const to = nextEvent(rows, chosenAt, Number(by));
      const row = rows[rows.length - 1 - to];
      if (row?.kind === "event") choose(row.k);
      // Below the last row, so that older ones are read.
      scrollTo(to === rows.length - 1 && Number(by) > 0 ? to + 1 : to);
    },
    "ob:escape": () => choose(""),
  });

  const isEndVisible = hasEndRow && end > rows.length;
  const mustRead = isEndVisible && older.state === "more" && !older.isWaiting && table.error === "";
  const { readOlder, fillGap } = table;
  useEffect(() => {
    if (mustRead) readOlder();
  }, [mustRead, readOlder]);

  const indexes: number[] = [];
  for (let index = first; index < Math.min(end, rows.length); index++) indexes.push(index);
  const droppedKey = findDropped(rows, first - ROWS_AHEAD, end);
  const isFree = table.fillingGap === "" && table.error === "";
  useEffect(() => {
    // A page that was dropped comes back when it is scrolled to.
    if (droppedKey !== "" && !isFollowing && isFree) fillGap(droppedKey);
  }, [droppedKey, isFollowing, isFree, fillGap]);

  const titles = useTaskTitles(feed, useTaskIds(rows, first, end));
  const todayMs = new Date(feed.now()).setHours(0, 0, 0, 0);
  const isHeld = !isFollowing || isPaused;
  const isEmpty = rows.length === 0 && !hasEndRow;
  return (
    <section className="panel events" aria-label="Events">
      <header className="panel-head">
        <h2>Events</h2>
        <span className="muted num">
          {count(rows.length)}
          {older.state === "end" ? "" : "+"}
        </span>
        <Refreshing view={{ ...table.view, isRefreshing }} />
        {onAll && (
          <label className="check">
            <input
              type="checkbox"
              checked={filters.isAll ?? false}
              onChange={(event) => onAll(event.target.checked)}
            />
            heartbeats and statistics
          </label>
        )}
        <span className="panel-end">
          {isHeld && (
            <button type="button" className="pill" onClick={showLatest} data-testid="new-events">
              {table.newCount > 0 ? `${count(table.newCount)} new` : "Latest"} ↑
            </button>
          )}
          {onFold && (
            <button
              type="button"
              className="icon-button events-fold"
              aria-label="Fold the events away"
              aria-expanded={true}
              title="Fold the events away (f)"
              onClick={onFold}
            >
              <ChevronIcon />
            </button>
          )}
        </span>
      </header>
      <div
        className={`table${isRefreshing ? " is-refreshing" : ""}`}
        role="table"
        aria-label="Recent events, newest first"
        aria-rowcount={rows.length + 1}
        aria-busy={isRefreshing}
      >
        <ColumnHeads />
        <div className="table-body" ref={scroller} onScroll={onScroll} role="rowgroup" tabIndex={0}>
          <div className="table-space" style={{ height: totalPx }}>
            {indexes.map((index) => {
              const at = rows.length - 1 - index;
              const row = rows[at] as Row;
              return (
                <EventTableRow
                  key={slotOf(index)}
                  row={row}
                  index={index}
                  topPx={index * rowPx}
                  isChosen={at === chosenAt}
                  title={row.kind === "event" ? titles.get(row.event.parent_task_id ?? "") : ""}
                  todayMs={todayMs}
                  isFilling={row.k === table.fillingGap}
                  onChoose={choose}
                  onFill={fillGap}
                />
              );
            })}
            {isEndVisible && (
              <OlderEvents
                table={table}
                filters={filters}
                topPx={rows.length * rowPx}
                index={rows.length}
                todayMs={todayMs}
              />
            )}
          </div>
          {isEmpty && (
            <div className="none" role="row">
              <span role="cell">{emptyText(table, filters)}</span>
            </div>
          )}
        </div>
      </div>
      {detail.state === "left" && <Notice onClose={() => choose("")}>{detail.why}</Notice>}
      {detail.state === "found" && (
        <EventDetail
          event={detail.row.event}
          onClose={() => choose("")}
          onFocus={onFocus}
          traceLink={traceLink}
        />
      )}
    </section>
  );
});

/** Key of the first gap among these rows whose pages can come back at its older side; or empty. */
function findDropped(rows: readonly Row[], first: number, end: number): string {
  for (let index = Math.max(0, first); index < Math.min(end, rows.length); index++) {
    const row = rows[rows.length - 1 - index];
    if (row?.kind === "gap" && row.dropped.length > 0) return row.k;
  }
  return "";
}

/**
 * The index from the top of the event `by` rows below the chosen one, past gaps and the like.
 *
 * Args: `chosenAt` index of the chosen one among the rows, -1 for none.
 */
function nextEvent(rows: readonly Row[], chosenAt: number, by: number): number {
  const last = rows.length - 1;
  let to = Math.max(0, Math.min(last, chosenAt < 0 ? 0 : last - chosenAt + by));
  while (to > 0 && to < last && rows[last - to]?.kind !== "event") to += Math.sign(by);
  return to;
}
