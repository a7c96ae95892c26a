/**
 * Which rows of a long list are on screen, when all rows are equally high.
 *
 * A general virtualiser measures every row anew whenever the list changes, 4,000 of them four times a
 * second; with one height for all a division does.
 */
import { type RefObject, useCallback, useEffect, useLayoutEffect, useRef, useState } from "react";

const OVERSCAN = 4;
/** More at once than a wheel scrolls. */
const JUMP_ROWS = 4;
/** Scrolled farther than so many rows from where it follows, a list is the reader's own. */
const LOOSE_ROWS = 3;
/** Rows of what comes next that stay visible below the one followed. */
const BELOW = 2;

export interface FixedRows {
  /** Rows to draw, from `first` up to and without `end`. */
  first: number;
  end: number;
  /**
   * Which element draws a row. One that scrolls in takes over from one that scrolled out; after a jump
   * every element stays where it is and draws another row: moving 20 of them cost 6 ms of style.
   */
  slotOf: (index: number) => number;
  /** The topmost row in view; null while scrolled to the very top. */
  topmost: number | null;
  totalPx: number;
  scrollTo: (index: number, place?: "center" | "nearest") => void;
}

/**
 * The window of a list that scrolls in `scroller`.
 *
 * Args: `follow` a row that is kept in view until the reader scrolls elsewhere; null: none.
 */
export function useFixedRows(
  scroller: RefObject<HTMLElement | null>,
  count: number,
  rowPx: number,
  follow: number | null = null,
): FixedRows {
  const [{ top, height }, setAt] = useState({ top: 0, height: 0 });
  const isFollowing = useRef(true);
  const followed = useRef(0);

  const totalPx = count * rowPx;
  const most = Math.max(0, totalPx - height);
  const wanted =
    follow === null ? null : Math.min(most, Math.max(0, (follow + 1 + BELOW) * rowPx - height));
  // Drawn where it will be scrolled to, so that following costs one drawing instead of two.
  const at = wanted !== null && isFollowing.current ? wanted : Math.min(top, most);

  useLayoutEffect(() => {
    if (wanted === null || !isFollowing.current || scroller.current === null) return;
    followed.current = wanted;
    scroller.current.scrollTop = wanted;
  }, [scroller, wanted]);

  useEffect(() => {
    const element = scroller.current;
    if (element === null) return;
    const look = () => {
      const next = { top: snap(element.scrollTop, rowPx), height: element.clientHeight };
      setAt((old) => (old.top === next.top && old.height === next.height ? old : next));
    };
    const onScroll = () => {
      isFollowing.current = Math.abs(element.scrollTop - followed.current) < LOOSE_ROWS * rowPx;
      look();
    };
    const resize = new ResizeObserver(look);
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
      const begin = index * rowPx;
      if (place === "center") element.scrollTop = begin - (clientHeight - rowPx) / 2;
      else if (begin < scrollTop) element.scrollTop = begin;
      else if (begin + rowPx > scrollTop + clientHeight)
        element.scrollTop = begin + rowPx - clientHeight;
    },
    [scroller, rowPx],
  );

  const row = Math.floor(at / rowPx);
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
    topmost: at < 2 ? null : row,
    totalPx,
    scrollTo,
  };
}

/** Only another row at the top, or leaving it, is worth a drawing. */
function snap(top: number, rowPx: number): number {
  return top < 2 ? 0 : Math.max(2, Math.floor(top / rowPx) * rowPx);
}
