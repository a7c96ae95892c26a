/** The rows of the event table: the newest events of the view, and pages of the log on request. */
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { type MonitoringFeed, useIsPaused } from "../views/useMonitoringFeed";
import { useView } from "../views/useView";
import type { ViewSnapshot } from "../views/view-store";
import {
  type EventFilters,
  eventsParams,
  isFiltered,
  LogError,
  readLogPage,
  readTimeBefore,
} from "./log-pages";
import {
  addOlder,
  countNew,
  fillFromNewer,
  fillFromOlder,
  mergeTail,
  NO_ROWS,
  PAGE_ROWS,
  type Row,
  type TableRows,
} from "./table-rows";

/** Rows of the view: its limit, so that few events are skipped. */
const TAIL_ROWS = 200;
/** Pages that are searched one after the other without a request of the user: 100,000 events. */
const MAX_AUTO_PAGES = 5;

/** How far the log was read or searched beyond the oldest row. */
export interface OlderRows {
  /** `end`: the log has no older events; `more`: it may; `asking`: a page is on its way. */
  state: "end" | "more" | "asking";
  /** Whether to go on only when the user asks for it. */
  isWaiting: boolean;
  /** The log was searched back to this time, ms; null: not further than the oldest row. */
  searchedTo: number | null;
}

export interface EventTable {
  /** Oldest first. */
  rows: readonly Row[];
  view: ViewSnapshot<"events">;
  /** Whether the rows are of other filters, until the collector has answered. */
  isRefreshing: boolean;
  /** Whether the newest events have come, so that what is not among the rows is older. */
  isLoaded: boolean;
  /** Events that came since the rows stand still. */
  newCount: number;
  older: OlderRows;
  /** Key of the gap that is being filled; empty: none. */
  fillingGap: string;
  /** Why the last page could not be read; empty: it could. */
  error: string;
  readOlder: () => void;
  /** Fill a gap from its newer side, or, where a page was dropped, from its older one. */
  fillGap: (key: string) => void;
}

interface State {
  /** The filters of the rows; null before the first rows. */
  key: string | null;
  table: TableRows;
  /** Whether `passed` was counted on without a break since the last merge. */
  isCounted: boolean;
  /** `at` of the view when the page was paused; null: it was not since the last merge. */
  pausedAt: number | null;
  /** Pages in a row that found fewer events than they could hold. */
  sparsePages: number;
  searchedTo: number | null;
}

const START: State = {
  key: null,
  table: NO_ROWS,
  isCounted: true,
  pausedAt: null,
  sparsePages: 0,
  searchedTo: null,
};

/**
 * The rows for the filters.
 *
 * Args: `isFollowing` whether new events are added; else the rows stand still.
 */
export function useEventTable(
  feed: MonitoringFeed,
  filters: EventFilters,
  isFollowing: boolean,
): EventTable {
  const project = filters.project || feed.projectId || "";
  const task = filters.task || feed.taskId || "";
  const key = JSON.stringify(eventsParams({ ...filters, project, task }));
  const view = useView(feed, "events", { ...eventsParams(filters), count: TAIL_ROWS });
  const isPaused = useIsPaused(feed);
  const [kept, setState] = useState(START);
  const state = advance(kept, view, key, isFollowing, isPaused);
  if (state !== kept) setState(state);

  const [reading, setReading] = useState("");
  const [error, setError] = useState("");
  const request = useRef<AbortController>(null);
  const latest = useRef({ filters, project, task, state });
  latest.current = { filters, project, task, state };
  const shownKey = state.key;
  // biome-ignore lint/correctness/useExhaustiveDependencies: other filters have other pages.
  useEffect(
    () => () => {
      request.current?.abort();
      request.current = null;
      setReading("");
      setError("");
    },
    [shownKey],
  );

  const read = useCallback(
    (place: string, load: (page: Asked) => Promise<(old: State) => State>) => {
      if (request.current !== null) return;
      const { filters, project, task, state } = latest.current;
      const abort = new AbortController();
      request.current = abort;
      setReading(place);
      setError("");
      const { baseUrl } = feed;
      const asked = { baseUrl, filters: { ...filters, project, task }, signal: abort.signal };
      load(asked)
        .then(
          (change) => setState((old) => (old.key === state.key ? change(old) : old)),
          (reason: unknown) => {
            if (abort.signal.aborted) return;
            setError(reason instanceof LogError ? reason.message : "The log could not be read.");
          },
        )
        .finally(() => {
          if (request.current !== abort) return;
          request.current = null;
          setReading("");
        });
    },
    [feed],
  );

  const readOlder = useCallback(() => {
    const { before } = latest.current.state.table;
    if (before !== null) read(OLDER, (asked) => olderPage(asked, before));
  }, [read]);
  const fillGap = useCallback(
    (gapKey: string) => {
      const gap = latest.current.state.table.rows.find((row) => row.k === gapKey);
      if (gap?.kind !== "gap" || gap.isLost) return;
      const dropped = gap.dropped[gap.dropped.length - 1];
      if (dropped === undefined) read(gapKey, (asked) => gapPage(asked, gapKey, gap.before));
      else read(gapKey, (asked) => droppedPage(asked, gapKey, dropped));
    },
    [read],
  );

  const { table, sparsePages, searchedTo } = state;
  const isMore = table.before !== null;
  return useMemo(
    () => ({
      rows: table.rows,
      view,
      isRefreshing: shownKey !== key && shownKey !== null,
      isLoaded: table.passed !== null && shownKey === key,
      newCount: newEvents(state, view, key),
      older: {
        state: reading === OLDER ? "asking" : isMore ? "more" : "end",
        isWaiting: sparsePages >= MAX_AUTO_PAGES,
        searchedTo,
      },
      fillingGap: reading === OLDER ? "" : reading,
      error,
      readOlder,
      fillGap,
    }),
    [
      table,
      view,
      shownKey,
      key,
      state,
      reading,
      isMore,
      sparsePages,
      searchedTo,
      error,
      readOlder,
      fillGap,
    ],
  );
}

const OLDER = "older";

interface Asked {
  baseUrl: string | undefined;
  filters: EventFilters;
  signal: AbortSignal;
}

async function olderPage(asked: Asked, before: string): Promise<(old: State) => State> {
  const { baseUrl, filters, signal } = asked;
  const page = await readLogPage(baseUrl, filters, { before }, PAGE_ROWS, signal);
  const isSparse = page.events.length < PAGE_ROWS && page.next_before !== null;
  const searchedTo =
    isSparse && page.next_before !== null && isFiltered(filters)
      ? await readTimeBefore(baseUrl, page.next_before, filters.project, signal)
      : null;
  return (old) => ({
    ...old,
    table: addOlder(old.table, before, page),
    // A request of the user starts as many further ones.
    sparsePages: isSparse ? (old.sparsePages % MAX_AUTO_PAGES) + 1 : 0,
    searchedTo,
  });
}

async function gapPage(asked: Asked, key: string, before: string): Promise<(old: State) => State> {
  const { baseUrl, filters, signal } = asked;
  const page = await readLogPage(baseUrl, filters, { before }, PAGE_ROWS, signal);
  return (old) => ({ ...old, table: fillFromNewer(old.table, key, before, page) });
}

async function droppedPage(
  asked: Asked,
  key: string,
  before: string,
): Promise<(old: State) => State> {
  const { baseUrl, filters, signal } = asked;
  const page = await readLogPage(baseUrl, filters, { before }, PAGE_ROWS + 1, signal);
  return (old) => ({ ...old, table: fillFromOlder(old.table, key, before, page) });
}

/** The state with what the view shows; the same object if that changes nothing. */
function advance(
  state: State,
  view: ViewSnapshot<"events">,
  key: string,
  isFollowing: boolean,
  isPaused: boolean,
): State {
  const { head, rows, at } = view;
  const isNew = state.key !== key;
  if (head === null) {
    // Rows of another task or project are not shown for this one.
    if (isNew && state.key !== null) return START;
    return state.isCounted ? { ...state, isCounted: false } : state;
  }
  if (view.isRefreshing) return state;
  if (view.status !== "live") return state.isCounted ? { ...state, isCounted: false } : state;
  const tail = { rows, ...head };
  if (isNew) return { ...START, key, table: mergeTail(NO_ROWS, tail, true) };
  if (isPaused && isFollowing) return state.pausedAt === at ? state : { ...state, pausedAt: at };
  if (!isFollowing) return state.pausedAt === null ? state : { ...state, pausedAt: null };
  const isResumed = state.pausedAt !== null && state.pausedAt !== at;
  const table = mergeTail(state.table, tail, state.isCounted, isResumed);
  const pausedAt = isResumed ? null : state.pausedAt;
  if (table === state.table && state.isCounted && pausedAt === state.pausedAt) return state;
  return { ...state, table, isCounted: true, pausedAt };
}

function newEvents(state: State, { head, rows }: ViewSnapshot<"events">, key: string): number {
  if (head === null || state.key !== key) return 0;
  return countNew(state.table, { rows, ...head }, state.isCounted);
}
