/**
 * The rows of the event table: the newest events, older ones read from the log, and a row for each
 * gap between them. Pure.
 *
 * Positions are opaque: two of them can only be compared for equality. So rows are joined where the
 * same key is on both sides, and where it is not, there is a gap.
 */
import type { MonitoringEvent } from "../feed/wire";
import { parseTime } from "../lib/timestamps";
import type { EventRow } from "../views/view-types";

/** Rows kept; beyond, the far end is dropped, and can be read from the log again. */
export const MAX_ROWS = 5_000;
/** Events of one page of the log. */
export const PAGE_ROWS = 200;

export interface EventTableRow {
  kind: "event";
  /** Its position in the log. */
  k: string;
  /** Its time, ms. */
  at: number;
  event: MonitoringEvent;
}

/** Events of the log that are not in the table, between the rows on both sides. */
export interface GapRow {
  kind: "gap";
  k: string;
  /** How many; null: unknown. */
  count: number | null;
  /** The page of the log that ends here is asked for with this `before`. */
  before: string;
  /**
   * For each page that was dropped here the `before` that reads it again; the last one adjoins the
   * older side.
   */
  dropped: readonly string[];
  /** The oldest event that was dropped; empty: none was. */
  oldestDropped: string;
  /** The log no longer has them. */
  isLost: boolean;
}

/** Where the page was paused: how many of the events above came meanwhile. */
export interface PauseRow {
  kind: "pause";
  k: string;
  count: number;
}

export type Row = EventTableRow | GapRow | PauseRow;

export interface TableRows {
  /** Oldest first. */
  readonly rows: readonly Row[];
  /** `head.passed` of the view when its rows were merged; null before the first. */
  readonly passed: number | null;
  /**
   * The page of the log before the first row is asked for with this `before`; null: there is none;
   * `NEWEST` while there are no rows.
   */
  readonly before: string | null;
}

/** Asks for the newest page of the log. */
export const NEWEST = "";

/** A page of the log, newest event first. */
export interface LogPage {
  events: readonly MonitoringEvent[];
  /** Asks for the next page; null: the log has no older events. */
  next_before: string | null;
}

export const NO_ROWS: TableRows = { rows: [], passed: null, before: null };

/** The newest events, as the view `events` has them. */
export interface Tail {
  rows: readonly EventRow[];
  passed: number;
  /** Whether the log may have older ones. */
  older: boolean;
}

/**
 * The table with what the view shows at its end, or the table itself if that is nothing new.
 *
 * The view is a window without holes of the newest events. It may also grow at its older side, and
 * get or lose events inside, whose project became known late.
 *
 * Args: `isCounted` whether `passed` has been counted on without a break since the last call; else
 * the size of a gap is unknown. `isResumed` whether new events came while the page was paused.
 */
export function mergeTail(
  table: TableRows,
  tail: Tail,
  isCounted: boolean,
  isResumed = false,
): TableRows {
  const { rows, passed } = tail;
  const first = rows[0];
  const newest = rows[rows.length - 1];
  const last = table.rows[table.rows.length - 1];
  const same = table.passed === passed ? table : { ...table, passed };
  if (first === undefined || newest === undefined) {
    if (last !== undefined || table.passed !== null) return same;
    return { rows: [], passed, before: tail.older ? NEWEST : null };
  }
  if (last === undefined) {
    return { rows: rows.map(eventRow), passed, before: tail.older ? first.k : null };
  }
  const known = rows.findLastIndex((row) => row.k === last.k);
  const isAligned =
    known >= 0 &&
    table.rows[table.rows.length - 1 - known]?.k === first.k &&
    !table.rows.slice(-1 - known).some((row) => row.kind === "gap");
  if (isAligned) {
    if (known === rows.length - 1) return same;
    const added: Row[] = rows.slice(known + 1).map(eventRow);
    if (isResumed) added.unshift({ kind: "pause", k: `pause:${last.k}`, count: added.length });
    return keepNewest({ ...table, rows: [...table.rows, ...added], passed });
  }
  const recent = table.rows.slice(-2 * rows.length - 1);
  // A collector that is behind the former one shows what the table has already.
  if (newest.k !== last.k && recent.some((row) => row.k === newest.k)) return table;
  const keys = new Map(rows.map((row, index) => [row.k, index]));
  const meets = recent.findIndex((row) => keys.has(row.k));
  if (meets >= 0) {
    const start = table.rows.length - recent.length + meets;
    const next = joined(table, start, keys, tail);
    const isSame =
      next.rows.length === table.rows.length &&
      next.rows.every((row, index) => row.k === table.rows[index]?.k);
    return isSame ? same : keepNewest({ ...next, passed });
  }
  const missed = table.passed === null ? -1 : passed - table.passed - rows.length;
  const gap: GapRow = {
    kind: "gap",
    k: `gap:${first.k}`,
    count: isCounted && missed > 0 ? missed : null,
    before: first.k,
    dropped: [],
    oldestDropped: "",
    isLost: false,
  };
  const between = isCounted && missed === 0 ? [] : [gap];
  return keepNewest({ ...table, rows: [...table.rows, ...between, ...rows.map(eventRow)], passed });
}

/**
 * The table with the view's rows instead of its own from `start` on, the first that both have.
 *
 * Marks of pauses stay. Rows of the view before `start` fill the gap there, or are older than all.
 */
function joined(
  table: TableRows,
  start: number,
  keys: ReadonlyMap<string, number>,
  { rows, older }: Tail,
): TableRows {
  const from = keys.get((table.rows[start] as Row).k) as number;
  const above = table.rows.slice(0, start);
  const gap = above[above.length - 1];
  const first = rows[0] as EventRow;
  if (gap?.kind === "gap" && from > 0) {
    above.splice(-1, 1, { ...gap, count: subtract(gap.count, from), before: first.k });
  }
  const own = new Map<string, Row>();
  const pauses = new Map<string, PauseRow>();
  table.rows.slice(start).forEach((row, index) => {
    own.set(row.k, row);
    const before = table.rows[start + index - 1];
    if (row.kind === "pause" && before !== undefined) pauses.set(before.k, row);
  });
  const below = rows.flatMap((row): Row[] => {
    const kept = own.get(row.k) ?? eventRow(row);
    const pause = pauses.get(row.k);
    return pause === undefined ? [kept] : [kept, pause];
  });
  const isFirst = start === 0 && from > 0;
  const before = isFirst ? (older ? first.k : null) : table.before;
  return { ...table, rows: [...above, ...below], before };
}

/**
 * The table with an older page before its first row; the newest rows leave if it is too long.
 *
 * Args: `before` what the page was asked for with. The table is returned as it is if it has changed
 * since so that the page no longer joins it, here and below.
 */
export function addOlder(table: TableRows, before: string, page: LogPage): TableRows {
  if (table.before !== before) return table;
  const older = oldestFirst(page.events);
  return keepOldest({ ...table, rows: [...older, ...table.rows], before: page.next_before });
}

/** The table with the events of a page that ends at the newer side of a gap. */
export function fillFromNewer(
  table: TableRows,
  gapKey: string,
  before: string,
  page: LogPage,
): TableRows {
  const at = indexOfGap(table, gapKey);
  const gap = table.rows[at] as GapRow | undefined;
  if (gap === undefined || gap.before !== before) return table;
  const met = indexOfKey(page.events, table.rows[at - 1]);
  const found = oldestFirst(met < 0 ? page.events : page.events.slice(0, met));
  const left: GapRow = {
    ...gap,
    count: subtract(gap.count, found.length),
    before: page.next_before ?? gap.before,
    isLost: page.next_before === null,
  };
  return replaceGap(table, at, met < 0 ? [left, ...found] : found);
}

/**
 * The table with a page that was dropped from it, at the older side of a gap.
 *
 * Args: `before` the last of the gap's `dropped`; `page` the events before it, one more than were
 * dropped: by that one it joins the older side. If it does not join, the gap can only be filled
 * from its newer side.
 */
export function fillFromOlder(
  table: TableRows,
  gapKey: string,
  before: string,
  page: LogPage,
): TableRows {
  const at = indexOfGap(table, gapKey);
  const gap = table.rows[at] as GapRow | undefined;
  if (gap === undefined || gap.dropped[gap.dropped.length - 1] !== before) return table;
  const joins = indexOfKey(page.events, table.rows[at - 1]);
  if (joins < 0) return replaceGap(table, at, [{ ...gap, dropped: [] }]);
  const newer = table.rows[at + 1];
  const start = indexOfKey(page.events, newer) + 1;
  const found = oldestFirst(page.events.slice(start, joins));
  if (start > 0 || before === newer?.k) return replaceGap(table, at, found);
  const left: GapRow = {
    ...gap,
    count: subtract(gap.count, found.length),
    dropped: gap.dropped.slice(0, -1),
    oldestDropped: before,
  };
  return replaceGap(table, at, [...found, left]);
}

/**
 * How many events of the tail are not in the table; at least so many if that was not counted.
 */
export function countNew(table: TableRows, { rows, passed }: Tail, isCounted: boolean): number {
  const last = table.rows[table.rows.length - 1];
  if (isCounted && table.passed !== null) return Math.max(0, passed - table.passed);
  if (rows.length === 0 || hasRow(table, (rows[rows.length - 1] as EventRow).k)) return 0;
  return rows.length - 1 - rows.findLastIndex((row) => row.k === last?.k);
}

/** Index of the event with a position, or with an id as older links have it; -1: not there. */
export function indexOfEvent(rows: readonly Row[], chosen: string): number {
  if (chosen === "") return -1;
  return rows.findLastIndex(
    (row) => row.kind === "event" && (row.k === chosen || row.event.event_id === chosen),
  );
}

function eventRow({ k, event }: EventRow): EventTableRow {
  return { kind: "event", k, at: parseTime(event.ts), event };
}

/** Rows for the events of a page; every event of the log has a position. */
function oldestFirst(events: readonly MonitoringEvent[]): EventTableRow[] {
  return events.map((event) => eventRow({ k: event.position ?? event.event_id, event })).reverse();
}

function hasRow(table: TableRows, key: string): boolean {
  return table.rows.some((row) => row.k === key);
}

function indexOfGap(table: TableRows, key: string): number {
  return table.rows.findIndex((row) => row.kind === "gap" && row.k === key);
}

function indexOfKey(events: readonly MonitoringEvent[], row: Row | undefined): number {
  return row === undefined ? -1 : events.findIndex((event) => event.position === row.k);
}

function replaceGap(table: TableRows, at: number, rows: readonly Row[]): TableRows {
  return keepNewest({ ...table, rows: table.rows.toSpliced(at, 1, ...rows) });
}

function subtract(count: number | null, found: number): number | null {
  // A count that was too low: what is left is unknown, not none.
  return count === null || count <= found ? null : count - found;
}

/** Drop the oldest rows beyond the limit; the log has them. */
function keepNewest(table: TableRows): TableRows {
  if (table.rows.length <= MAX_ROWS) return table;
  let rows = table.rows.slice(-MAX_ROWS);
  if (rows[0]?.kind !== "event") rows = rows.slice(1);
  return { ...table, rows, before: rows[0]?.k ?? null };
}

/**
 * Drop pages below the newest row while there are too many rows, and leave a gap in their place.
 */
function keepOldest(table: TableRows): TableRows {
  let { rows } = table;
  while (rows.length > MAX_ROWS) {
    const newest = rows[rows.length - 1] as Row;
    const below = rows[rows.length - 2];
    const old = below?.kind === "gap" ? below : null;
    const end = rows.length - (old === null ? 1 : 2);
    const isBesideMark = rows[end - PAGE_ROWS - 1]?.kind !== "event";
    const start = end - PAGE_ROWS - (isBesideMark ? 1 : 0);
    const leaving = rows.slice(start, end);
    const events = leaving.filter((row) => row.kind === "event");
    // A page of the log is not what is dropped here if it had a gap inside.
    const isWhole = !leaving.some((row) => row.kind === "gap");
    const isCounted = isWhole && old?.count !== null;
    const next = old === null ? newest.k : old.oldestDropped;
    const gap: GapRow = {
      kind: "gap",
      k: `gap:${newest.k}`,
      count: isCounted ? (old?.count ?? 0) + events.length : null,
      before: old?.before ?? newest.k,
      dropped: isWhole && next !== "" ? [...(old?.dropped ?? []), next] : [],
      oldestDropped: events[0]?.k ?? "",
      isLost: false,
    };
    rows = [...rows.slice(0, start), gap, newest];
  }
  return { ...table, rows };
}
