/** The row that keeps its place on the screen while pages come and go above it. */
import { useCallback, useRef, useState } from "react";
import type { HeldRow } from "../lib/fixed-rows";
import type { Row } from "./table-rows";

/**
 * The lowest visible row, until it leaves the screen, for `useFixedRows`; null while new events are
 * added at the top. The lowest, because a page that was dropped comes back above the visible rows.
 *
 * Returns: the row, and a function that is called with the topmost visible row and the number of
 * visible rows after each render in which they changed.
 */
export function useHeldRow(
  rows: readonly Row[],
  isFollowing: boolean,
): [HeldRow | null, (topmost: number, inView: number) => void] {
  const [key, setKey] = useState("");
  const at = isFollowing || key === "" ? -1 : rows.findIndex((row) => row.k === key);
  const held = at < 0 ? null : { key, index: rows.length - 1 - at };
  const latest = useRef({ rows, held });
  latest.current = { rows, held };
  const holdVisible = useCallback((topmost: number, inView: number) => {
    const { rows, held } = latest.current;
    // The last row in view is perhaps visible in part, or not at all.
    const lowest = topmost + inView - 2;
    if (held !== null && held.index >= topmost && held.index <= lowest) return;
    setKey(rows[rows.length - 1 - Math.min(lowest, rows.length - 1)]?.k ?? "");
  }, []);
  return [held, holdVisible];
}
