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
  /** Height of all rows. */
  totalPx: number;
  /** Scroll a row into view; the list then no longer follows its row. */
  scrollTo: (index: number, place?: "center" | "nearest") => void;
}

/**
 * The visible rows of a list that scrolls in the element `scroller`.
 *
 * Args: `count` rows of `rowPx` height each; `follow` a row that is kept in view until the user
 * scrolls elsewhere, null for none.
 */
export function useFixedRows(
  scroller: RefObject<HTMLElement | null>,
  count: number,
  rowPx: number,
  follow: number | null = null,
): FixedRows {
  const [{ top, height }, setAt] = useState({ top: 0, height: 0 });
  const isFollowing = useRef(true);
  const followedTopPx = useRef(0);

  const totalPx = count * rowPx;
  const maxTopPx = Math.max(0, totalPx - height);
  const followTopPx =
    follow === null
      ? null
      : Math.min(maxTopPx, Math.max(0, (follow + 1 + ROWS_BELOW_FOLLOWED) * rowPx - height));
  // Draw the rows at the position that is about to be scrolled to: one render instead of two.
  const topPx = followTopPx !== null && isFollowing.current ? followTopPx : Math.min(top, maxTopPx);

  useLayoutEffect(() => {
    if (followTopPx === null || !isFollowing.current || scroller.current === null) return;
    followedTopPx.current = followTopPx;
    scroller.current.scrollTop = followTopPx;
  }, [scroller, followTopPx]);

  useEffect(() => {
    const element = scroller.current;
    if (element === null) return;
    const measure = () => {
      const next = { top: roundToRow(element.scrollTop, rowPx), height: element.clientHeight };
      setAt((old) => (old.top === next.top && old.height === next.height ? old : next));
    };
    const onScroll = () => {
      isFollowing.current =
        Math.abs(element.scrollTop - followedTopPx.current) < FOLLOW_SLACK_ROWS * rowPx;
      measure();
    };
    const resize = new ResizeObserver(measure);
    resize.observe(element);
    element.addEventListener("scroll", onScroll, { passive: true });
    return () => {
      resize.disconnect();
      element.removeEventListener("scroll", onScroll);
    };
  }, [scroller, rowPx]);

  const scrollTo = useCallback(
    (index: number, place: "center" | "nearest" = "nearest") => {
      const element = scroller.current;
      if (element === null) return;
      isFollowing.current = false;
      const { clientHeight, scrollTop } = element;
      const rowTopPx = index * rowPx;
      if (place === "center") element.scrollTop = rowTopPx - (clientHeight - rowPx) / 2;
      else if (rowTopPx < scrollTop) element.scrollTop = rowTopPx;
      else if (rowTopPx + rowPx > scrollTop + clientHeight)
        element.scrollTop = rowTopPx + rowPx - clientHeight;
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
    totalPx,
    scrollTo,
  };
}

/**
 * Round a scroll position, so that only another topmost row, or leaving the start, renders again.
 */
function roundToRow(top: number, rowPx: number): number {
  return top < 2 ? 0 : Math.max(2, Math.floor(top / rowPx) * rowPx);
}
