/** The part of a task's tree that the page has: the rows around those that are seen. */
import { type RefObject, useCallback, useEffect, useRef, useState } from "react";
import { type FixedRows, type Jump, useFixedRows } from "../lib/fixed-rows";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useView } from "../views/useView";
import type { ViewSnapshot } from "../views/view-store";
import type { Anchor, TreeParams, TreeRow } from "../views/view-types";

export const ROW_PX = 24;
/** While the list scrolls, windows start at multiples of this, so that viewers share them. */
const GRID_ROWS = 20;
const MIN_COUNT = 80;
/** The collector gives no more. */
const MAX_COUNT = 200;
/** Rows beyond the visible ones that are there before they are scrolled to. */
const MARGIN_ROWS = 10;
/** Scrolling rests when there was no scroll event for so long. */
const REST_MS = 150;
/** Windows are asked for at most this often: each costs two messages, of 20 that may come a second. */
const ASK_INTERVAL_MS = 120;

/** What the tree is asked for, besides the window. */
export type TreeQuery = Omit<TreeParams, "at" | "count">;

/** Where to go: a row by its key, or the first or last one. */
export interface Goal {
  n: number;
  to: { key: string } | "first" | "last";
  place: Jump["place"];
}

export interface TreeWindow {
  view: ViewSnapshot<"tree">;
  /** Whether the rows are still those of another filter, zoom or choice of folds. */
  isOtherQuery: boolean;
  /** Number of the window's first row, and of all rows. */
  first: number;
  total: number;
  /** The number of a row of the window; -1 if it is not in it. */
  indexOf: (key: string) => number;
  rowAt: (index: number) => TreeRow | undefined;
  list: FixedRows;
  /** Scroll to a row; `WindowOptions.onMissing` is called if it is not listed. */
  goTo: (to: Goal["to"], place: Jump["place"]) => void;
  /** Hold on to this visible row from now on: it stays where it is when others go. */
  hold: (key: string) => void;
}

interface WindowOptions {
  /** Whether the last row is kept in view until the user scrolls elsewhere. */
  isFollowed: boolean;
  /** The row that the user has chosen: while it is visible, it is the one under the eye. */
  chosen: string | null;
  onMissing: (key: string) => void;
}

/**
 * Subscribe to the rows around those that are seen, and keep the row under the eye where it is.
 *
 * While the list scrolls its window is asked for by row number; once that rests, by the key of the
 * row under the eye. By number that row changed with each of 33 updates at 5,000 events a second,
 * by key with none.
 */
export function useTreeWindow(
  feed: MonitoringFeed,
  query: TreeQuery,
  scroller: RefObject<HTMLElement | null>,
  { isFollowed, chosen, onMissing }: WindowOptions,
): TreeWindow {
  const [at, setAt] = useState<Anchor>({ row: 0 });
  const [count, setCount] = useState(MIN_COUNT);
  const [goal, setGoal] = useState<Goal | null>(null);
  const view = useView(feed, "tree", { ...query, at, count });
  const { head, rows } = view;
  const first = head?.first ?? 0;
  const total = head?.total ?? 0;
  const isFresh = head !== null && !view.isRefreshing;
  const queryText = JSON.stringify(query);
  const shownQuery = useRef(queryText);
  useEffect(() => {
    if (isFresh) shownQuery.current = queryText;
  }, [isFresh, queryText]);
  const isOtherQuery = !isFresh && shownQuery.current !== queryText;
  const indexOf = useCallback(
    (key: string) => {
      const found = rows.findIndex((row) => row.k === key);
      return found < 0 ? -1 : first + found;
    },
    [rows, first],
  );
  const rowAt = useCallback((index: number) => rows[index - first], [rows, first]);

  // --- what moves the list ---
  const arrived = useRef(0);
  let goalIndex = -1;
  if (goal !== null && isFresh && total > 0) {
    if (goal.to === "first") goalIndex = 0;
    else if (goal.to === "last") goalIndex = total - 1;
    else goalIndex = indexOf(goal.to.key);
  }
  const jump =
    goal !== null && goalIndex >= 0 ? { n: goal.n, index: goalIndex, place: goal.place } : null;
  const heldKey = typeof at === "object" && "key" in at ? at.key : null;
  const heldIndex = heldKey === null ? -1 : indexOf(heldKey);
  const held = heldKey !== null && heldIndex >= 0 ? { key: heldKey, index: heldIndex } : null;
  const follow = isFollowed && total > 0 ? total - 1 : null;
  const list = useFixedRows(scroller, total, ROW_PX, { jump, follow, held }, "half");
  const top = list.topmost ?? 0;
  const { inView } = list;

  const latest = useRef({ onMissing, anchor: () => {}, cover: () => {} });
  latest.current.onMissing = onMissing;
  useEffect(() => {
    if (goal === null || !isFresh || arrived.current === goal.n) return;
    arrived.current = goal.n;
    if (goalIndex < 0 && typeof goal.to === "object") latest.current.onMissing(goal.to.key);
  }, [goal, goalIndex, isFresh]);

  // --- which window is asked for ---
  /** How many rows of the window are above a row that is shown so many rows below the top. */
  const rowsAboveEye = (below: number) =>
    Math.max(0, Math.min(count - 1, below + Math.floor(Math.max(0, count - inView) / 2)));
  const isResting = useRef(true);
  latest.current.anchor = () => {
    if (goal !== null && arrived.current !== goal.n) return;
    if (isFollowed && list.isFollowing()) {
      setAt((old) => (old === "end" ? old : "end"));
      return;
    }
    const chosenIndex = chosen === null ? -1 : indexOf(chosen);
    const isChosenSeen = chosenIndex >= top && chosenIndex < top + inView - 1;
    const eye = isChosenSeen ? chosenIndex : top;
    const row = rowAt(eye);
    if (row === undefined || (eye === 0 && first === 0)) return;
    const above = rowsAboveEye(eye - top);
    setAt((old) => {
      const isHeld = typeof old === "object" && "key" in old && old.key === row.k;
      return isHeld && isCovered(first, rows.length, total, top, inView)
        ? old
        : { key: row.k, above };
    });
  };
  const askedAt = useRef(Number.NEGATIVE_INFINITY);
  const askTimer = useRef<ReturnType<typeof setTimeout>>(undefined);
  latest.current.cover = () => {
    clearTimeout(askTimer.current);
    if (head === null || (goal !== null && arrived.current !== goal.n)) return;
    if (isCovered(first, rows.length, total, top, inView)) return;
    const waitMs = askedAt.current + ASK_INTERVAL_MS - performance.now();
    if (waitMs > 0) {
      askTimer.current = setTimeout(() => latest.current.cover(), waitMs);
      return;
    }
    const next: Anchor =
      isFollowed && list.isFollowing() ? "end" : { row: windowStart(top, inView, count) };
    if (JSON.stringify(next) === JSON.stringify(at)) return;
    askedAt.current = performance.now();
    setAt(next);
  };
  useEffect(() => {
    setCount(windowCount(inView));
  }, [inView]);
  useEffect(() => {
    latest.current.cover();
    const isByNumber = typeof at === "object" && "row" in at;
    if (
      isFresh &&
      isResting.current &&
      (isByNumber ? at.row > 0 : heldKey !== null && heldIndex < 0)
    )
      latest.current.anchor();
  });
  useEffect(() => {
    const element = scroller.current;
    if (element === null) return;
    let timer: ReturnType<typeof setTimeout>;
    const onScroll = () => {
      isResting.current = false;
      clearTimeout(timer);
      timer = setTimeout(() => {
        isResting.current = true;
        latest.current.anchor();
      }, REST_MS);
    };
    element.addEventListener("scroll", onScroll, { passive: true });
    return () => {
      element.removeEventListener("scroll", onScroll);
      clearTimeout(timer);
      clearTimeout(askTimer.current);
    };
  }, [scroller]);

  const goTo = useCallback((to: Goal["to"], place: Jump["place"]) => {
    setGoal((old) => ({ n: (old?.n ?? 0) + 1, to, place }));
    if (to === "first") setAt({ row: 0 });
    else if (to === "last") setAt("end");
    else setAt({ key: to.key, above: MIN_COUNT / 2 });
  }, []);
  const hold = (key: string) => {
    const index = indexOf(key);
    if (index < 0) return;
    list.scrollTo(index);
    setAt({ key, above: rowsAboveEye(index - top) });
  };
  return { view, isOtherQuery, first, total, indexOf, rowAt, list, goTo, hold };
}

/** How many rows to ask for so that as many as are visible can be scrolled to at once. */
export function windowCount(inView: number): number {
  const rows = Math.ceil((inView + 4 * MARGIN_ROWS) / GRID_ROWS) * GRID_ROWS;
  return Math.min(MAX_COUNT, Math.max(MIN_COUNT, rows));
}

/** The first row of a window, a multiple of 20, with the visible rows in its middle. */
export function windowStart(top: number, inView: number, count: number): number {
  const start = Math.max(0, top - Math.floor((count - inView) / 2));
  return Math.floor(start / GRID_ROWS) * GRID_ROWS;
}

/** Whether the window has the visible rows, and the next ones in both directions. */
export function isCovered(
  first: number,
  loaded: number,
  total: number,
  top: number,
  inView: number,
): boolean {
  const start = Math.max(0, Math.min(top, total) - MARGIN_ROWS);
  const end = Math.min(total, top + inView + MARGIN_ROWS);
  return first <= start && first + loaded >= end;
}
