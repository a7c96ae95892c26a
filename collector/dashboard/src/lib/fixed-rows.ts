/**
 * Virtualised list for rows of the same height: which rows are visible and must be drawn.
 *
 * A general virtualiser measures every row again whenever the list changes, 4,000 rows four times a
 * second; with one height for all rows a division is enough.
 */
import { type RefObject, useCallback, useEffect, useLayoutEffect, useRef, useState } from "react";

/** Rows drawn above and below the visible ones. */
const OVERSCAN = 4;
/** More rows than one turn of the mouse wheel scrolls. */
const JUMP_ROWS = 4;
/** A list that the user scrolled more than this many rows away no longer follows its row. */
const FOLLOW_SLACK_ROWS = 3;
/** Rows kept visible below the followed row. */
const ROWS_BELOW_FOLLOWED = 2;

/** A row that keeps its place on the screen when rows come or go above it. */
export interface HeldRow {
  key: string;
  index: number;
}

/** A row to scroll to, once for each `n`. */
export interface Jump {
  n: number;
  index: number;
  place: "center" | "nearest" | "top";
}

/** What moves the list besides the user: the first of these that applies. */
export interface Movement {
  /** A row to scroll to. */
  jump?: Jump | null;
  /** A row that is kept in view until the user scrolls elsewhere. */
  follow?: number | null;
  held?: HeldRow | null;
}

/** How often the list renders while it is scrolled: for each row, or for each half of one. */
export type Step = "row" | "half";

export interface FixedRows {
  /** Rows to draw: `first` inclusive, `end` exclusive. */
  first: number;
  end: number;
  /**
   * The element, by its React key, that draws a row. While scrolling, a row that comes into view
   * reuses the element of one that left it. After a jump each element keeps its place and draws
   * another row: moving 20 elements cost 6 ms of style calculation.
   */
  slotOf: (index: number) => number;
  /** The topmost visible row; null while the list is scrolled to its start. */
  topmost: number | null;
  /** The first row that is at least half visible below another row's height. */
  second: number;
  /** Rows that fit into the list, the last of them perhaps in part. */
  inView: number;
  /** Height of all rows. */
  totalPx: number;
  /** Whether the list keeps its followed row in view; only for event handlers. */
  isFollowing: () => boolean;
  /** Scroll a row into view; the list then no longer follows its row. */
  scrollTo: (index: number, place?: Jump["place"]) => void;
}

/**
 * The visible rows of a list that scrolls in the element `scroller`.
 *
 * Args: `count` rows of `rowPx` height each.
 */
export function useFixedRows(
  scroller: RefObject<HTMLElement | null>,
  count: number,
  rowPx: number,
  { jump = null, follow = null, held = null }: Movement = {},
  step: Step = "row",
): FixedRows {
  const [{ top, height }, setAt] = useState({ top: 0, height: 0 });
  const isFollowing = useRef(true);
  const followedTopPx = useRef(0);
  const latestTopPx = useRef<number | null>(null);
  const jumped = useRef(0);
  const lastHeld = useRef<HeldRow | null>(null);

  const totalPx = count * rowPx;
  const maxTopPx = Math.max(0, totalPx - height);
  const bounded = (px: number) => Math.min(maxTopPx, Math.max(0, px));
  const isJumping = jump !== null && jump.n !== jumped.current;
  const before = held !== null && lastHeld.current?.key === held.key ? lastHeld.current : held;
  const heldPx = isJumping || held === null || before === null ? 0 : held.index - before.index;
  const followTopPx =
    follow === null ? null : bounded((follow + 1 + ROWS_BELOW_FOLLOWED) * rowPx - height);
  // Draw the rows at the position that is about to be scrolled to: one render instead of two.
  let topPx = bounded(top + heldPx * rowPx);
  if (isJumping) topPx = bounded(placed(jump, rowPx, top, height));
  else if (followTopPx !== null && isFollowing.current) topPx = followTopPx;

  const measure = useCallback(() => {
    const element = scroller.current;
    if (element === null) return;
    const stepPx = step === "half" ? rowPx / 2 : rowPx;
    const next = { top: roundDown(element.scrollTop, stepPx), height: element.clientHeight };
    setAt((old) => (old.top === next.top && old.height === next.height ? old : next));
  }, [scroller, rowPx, step]);

  useLayoutEffect(() => {
    const element = scroller.current;
    if (element === null) return;
    lastHeld.current = held;
    latestTopPx.current = followTopPx;
    if (isJumping) {
      jumped.current = jump.n;
      isFollowing.current = false;
      element.scrollTop = placed(jump, rowPx, element.scrollTop, element.clientHeight);
    } else if (followTopPx !== null && isFollowing.current) {
      const lastPx = Math.min(followedTopPx.current, element.scrollHeight - element.clientHeight);
      followedTopPx.current = followTopPx;
      // The event of the user's scrolling comes later than a render may.
      if (Math.abs(element.scrollTop - lastPx) >= FOLLOW_SLACK_ROWS * rowPx)
        isFollowing.current = false;
      else if (element.scrollTop !== followTopPx) element.scrollTop = followTopPx;
    } else if (heldPx !== 0) {
      element.scrollTop += heldPx * rowPx;
    } else return;
    measure();
  });

  useEffect(() => {
    const element = scroller.current;
    if (element === null) return;
    const onScroll = () => {
      // Not where it was followed last: rows that came above may have moved the list there.
      const awayPx = Math.abs(element.scrollTop - (latestTopPx.current ?? Infinity));
      isFollowing.current = awayPx < FOLLOW_SLACK_ROWS * rowPx;
      measure();
    };
    const resize = new ResizeObserver(measure);
    resize.observe(element);
    element.addEventListener("scroll", onScroll, { passive: true });
    return () => {
      resize.disconnect();
      element.removeEventListener("scroll", onScroll);
    };
  }, [scroller, rowPx, measure]);

  const scrollTo = useCallback(
    (index: number, place: Jump["place"] = "nearest") => {
      const element = scroller.current;
      if (element === null) return;
      isFollowing.current = false;
      const topPx = placed({ index, place }, rowPx, element.scrollTop, element.clientHeight);
      if (topPx !== element.scrollTop) element.scrollTop = topPx;
    },
    [scroller, rowPx],
  );

  const row = Math.floor(topPx / rowPx);
  const first = Math.max(0, row - OVERSCAN);
  const inView = Math.ceil(height / rowPx) + 1;
  const pool = inView + 2 * OVERSCAN;
  const slots = useRef({ first: 0, base: 0 });
  if (Math.abs(first - slots.current.first) > JUMP_ROWS)
    slots.current.base += first - slots.current.first;
  slots.current.first = first;
  const { base } = slots.current;
  return {
    first,
    end: Math.min(count, row + inView + OVERSCAN),
    slotOf: (index) => (((index - base) % pool) + pool) % pool,
    topmost: topPx < 2 ? null : row,
    second: Math.floor(topPx / rowPx + 1.5),
    inView,
    totalPx,
    isFollowing: () => isFollowing.current,
    scrollTo,
  };
}

/** The scroll position that shows a row at a place. */
function placed(
  { index, place }: Pick<Jump, "index" | "place">,
  rowPx: number,
  topPx: number,
  heightPx: number,
): number {
  const rowTopPx = index * rowPx;
  if (place === "top") return rowTopPx;
  // The topmost row is not truncated.
  if (place === "center")
    return rowTopPx - Math.max(0, Math.floor((heightPx / rowPx - 1) / 2)) * rowPx;
  if (rowTopPx < topPx) return rowTopPx;
  return Math.max(topPx, rowTopPx + rowPx - heightPx);
}

/**
 * Round a scroll position, so that only another topmost row, or leaving the start, renders again.
 */
function roundDown(top: number, stepPx: number): number {
  return top < 2 ? 0 : Math.max(2, Math.floor(top / stepPx) * stepPx);
}
