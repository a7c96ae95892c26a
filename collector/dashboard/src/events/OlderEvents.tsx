/** What is said below the oldest row of the event table, and instead of rows. */
import { count, dateTime, timeOfDay } from "../lib/format";
import { type EventFilters, isFiltered } from "./log-pages";
import type { EventTable } from "./use-event-table";

interface OlderEventsProps {
  table: EventTable;
  filters: EventFilters;
  topPx: number;
  index: number;
  todayMs: number;
}

/** The last row: that older events are read or searched, and how to go on. */
export function OlderEvents({ table, filters, topPx, index, todayMs }: OlderEventsProps) {
  const { older, error, readOlder } = table;
  return (
    <div className="row row-end" role="row" aria-rowindex={index + 2} style={{ top: topPx }}>
      <span role="cell">
        {error || olderText(table, filters, todayMs)}
        {(error !== "" || (older.isWaiting && older.state === "more")) && (
          <button type="button" className="link" onClick={readOlder}>
            {error ? "Try again" : "Search further back"}
          </button>
        )}
      </span>
    </div>
  );
}

function olderText(table: EventTable, filters: EventFilters, todayMs: number): string {
  const { older } = table;
  if (!isFiltered(filters)) return "Reading older events…";
  const to = older.searchedTo;
  const time = to === null ? "" : to < todayMs ? dateTime(to).slice(0, 16) : timeOfDay(to);
  if (older.isWaiting && older.state === "more") {
    return `${foundText(table)} ${time ? `back to ${time}` : "so far"}.`;
  }
  return time ? `Searching, back to ${time} so far…` : "Searching older events…";
}

function foundText({ rows }: EventTable): string {
  if (rows.length === 0) return "No events match";
  return `${count(rows.length)} ${rows.length === 1 ? "event matches" : "events match"}`;
}

/** Said where there are no rows, and no older ones to read. */
export function emptyText(table: EventTable, filters: EventFilters): string {
  if (table.view.status === "refused")
    return `The collector does not show these events: ${table.view.why}`;
  if (!table.isLoaded) return "Asking the collector…";
  if (isFiltered(filters)) return "No events match.";
  return "No events yet. They appear here as soon as they happen.";
}
