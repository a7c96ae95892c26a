/** Pages of the log: older events, for the same filters as the view of the newest ones. */
import type { Status } from "../feed/wire";
import type { Filters } from "../lib/filters";
import { parseTime } from "../lib/timestamps";
import type { EventsParams } from "../views/view-types";
import type { EventTableRow, LogPage } from "./table-rows";

/** Which events are shown; an empty text, or one that is left out, filters nothing. */
export interface EventFilters extends Filters {
  job?: string;
  /** Also heartbeats, queue depths and statistics. */
  isAll?: boolean;
}

/** Whether events are left out besides heartbeats and the like. */
export function isFiltered({ task, job, type, status, text }: EventFilters): boolean {
  return Boolean(task || job || type || status || text);
}

/** The filters as parameters of the view `events`. */
export function eventsParams(filters: EventFilters): EventsParams {
  const { project, task, job, type, status, text, isAll } = filters;
  return {
    ...(project ? { project } : {}),
    ...(task ? { task } : {}),
    ...(job ? { job } : {}),
    ...(type ? { type } : {}),
    ...(status ? { status: [status as Status] } : {}),
    ...(text ? { text } : {}),
    ...(isAll ? { all: true } : {}),
  };
}

/** Where a page ends: below a position (empty: at the newest event), or with that event. */
export type PageEnd = { before: string } | { upto: string };

/** The query of `GET /monitor/events` for a page. */
export function logQuery(filters: EventFilters, end: PageEnd, limit: number): URLSearchParams {
  const { project, task, job, type, status, text, isAll } = filters;
  const given = { project_id: project, task_id: task, job, type, status, text };
  const query = new URLSearchParams({ limit: String(limit) });
  for (const [name, value] of Object.entries({ ...end, ...given })) {
    if (value) query.set(name, value);
  }
  if (!isAll) query.set("all", "false");
  return query;
}

/** The log could not be read; the message is for people. */
export class LogError extends Error {}

const END: LogPage = { events: [], next_before: null };

/**
 * Read one page of the log.
 *
 * Returns: at most `limit` events. Fewer do not mean that there are no older ones: one call
 * searches 20,000 events. A position of another log, which was created again, has an empty page.
 *
 * Throws: `LogError`.
 */
export async function readLogPage(
  baseUrl: string | undefined,
  filters: EventFilters,
  end: PageEnd,
  limit: number,
  signal: AbortSignal,
): Promise<LogPage> {
  const url = new URL("monitor/events", baseUrl ?? document.baseURI);
  url.search = logQuery(filters, end, limit).toString();
  let answer: Response;
  try {
    answer = await fetch(url, { credentials: "include", cache: "no-store", signal });
  } catch {
    throw new LogError("The collector does not answer.");
  }
  if (answer.status === 400 && (await answer.text()).includes(" position")) return END;
  if (!answer.ok) throw new LogError(`The log could not be read (${answer.status}).`);
  return (await answer.json()) as LogPage;
}

/** The time of the newest event before a position, ms: so far back a search has come. */
export async function readTimeBefore(
  baseUrl: string | undefined,
  before: string,
  project: string | undefined,
  signal: AbortSignal,
): Promise<number | null> {
  const filters = project ? { project, isAll: true } : { isAll: true };
  const { events } = await readLogPage(baseUrl, filters, { before }, 1, signal);
  const at = events[0] === undefined ? Number.NaN : parseTime(events[0].ts);
  return Number.isNaN(at) ? null : at;
}

/** The event at a position; null: the log does not have it any more, or it may not be seen. */
export async function readLogEvent(
  baseUrl: string | undefined,
  position: string,
  signal: AbortSignal,
): Promise<EventTableRow | null> {
  const page = await readLogPage(baseUrl, { isAll: true }, { upto: position }, 1, signal);
  const event = page.events[0];
  if (event?.position !== position) return null;
  return { kind: "event", k: position, at: parseTime(event.ts), event };
}
