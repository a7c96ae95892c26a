/**
 * The part of the list of tasks that is on the page: a window of the collector's list, which
 * follows the scroll position and stands still under a pointer.
 */
import { type RefObject, useCallback, useEffect, useLayoutEffect, useRef, useState } from "react";
import { type Filters, tasksParams } from "../lib/filters";
import { type MonitoringFeed, useIsPaused } from "../views/useMonitoringFeed";
import { useView } from "../views/useView";
import type { ViewSnapshot } from "../views/view-store";
import type { Anchor, TaskRow, TasksHead } from "../views/view-types";
import { type Grouping, type Section, sectionAt, sectionsOf } from "./task-sections";

/** How much of the list is in the document. */
interface Extent {
  /** Rows, at most: several screens of them. */
  count: number;
  /** Rows asked for above the topmost visible one. */
  above: number;
  /** With fewer rows than this left above or below, another window is asked for. */
  edge: number;
}

const CARDS: Extent = { count: 40, above: 12, edge: 5 };
/** 100 rows of 32 px are three screens of 1080 px. */
const LINES: Extent = { count: 100, above: 30, edge: 12 };
/** Height of the head of a group, as in lines.css. */
const HEAD_PX = 28;
/** Scrolling rests when it has not moved for this long. */
const REST_MS = 150;
/** Dragged to, windows start at multiples of this, so that clients share them. */
const GRID = 20;
const FIRST_GUESS_PX = 150;
const START: Anchor = { row: 0 };

export interface TaskWindow {
  /** The collector's window as of now. */
  live: ViewSnapshot<"tasks">;
  /** The rows to draw: those of `live`, or the ones that stand still. */
  rows: readonly TaskRow[];
  /** Number of the first of `rows` in the whole list. */
  first: number;
  /** The collector's order differs from the one that stands still under the pointer. */
  isOrderChanged: boolean;
  /** The groups of the whole list, whose heads are between `rows`. */
  sections: readonly Section[];
  /** Height of the rows and heads that are not in the document. */
  abovePx: number;
  belowPx: number;
  /** Keep the order while true. */
  hold: (isHeld: boolean) => void;
}

interface Held {
  head: TasksHead;
  rows: readonly TaskRow[];
}

/** What the list looks like, besides which tasks are in it. */
export interface ListShape {
  grouping: Grouping | null;
  /** Ids of the tasks that come first. */
  pins: readonly string[];
  /** Whether tasks are rows; else cards. */
  isDense: boolean;
}

/**
 * The window for the filters; `scroller` is the element that scrolls, and the items of its only
 * child that have a place in the list (`aria-posinset`) are the rows.
 */
export function useTaskWindow(
  feed: MonitoringFeed,
  filters: Filters,
  { grouping, pins, isDense }: ListShape,
  scroller: RefObject<HTMLElement | null>,
): TaskWindow {
  const extent = isDense ? LINES : CARDS;
  const filter = { ...tasksParams(filters), ...(grouping === null ? {} : { group: grouping }) };
  const filterKey = JSON.stringify(filter);
  const pinsKey = JSON.stringify(pins);
  const [{ at, of }, setPlace] = useState({ at: START, of: filterKey });
  const [held, setHeld] = useState<Held | null>(null);
  const [isHolding, hold] = useState(false);
  if (of !== filterKey) {
    // Other filters make another list, which is shown from its start.
    setPlace({ at: START, of: filterKey });
    setHeld(null);
  }
  const pinned = pins.length > 0 ? { pins } : {};
  const live = useView(feed, "tasks", { ...filter, ...pinned, at, count: extent.count });
  const still = useView(
    feed,
    "tasks",
    held && { ...projectOf(filter), keys: held.rows.map((task) => task.k) },
  );
  // Who pins a task by pointer wants to see it move.
  // biome-ignore lint/correctness/useExhaustiveDependencies: what lets go.
  useEffect(() => setHeld(null), [pinsKey]);

  const isCurrent = live.status === "live" && !live.isRefreshing;
  // A paused list stands still by itself; what it asked for now would be of another time.
  const isPaused = useIsPaused(feed);
  useEffect(() => {
    if (isPaused) return;
    if (!isHolding) setHeld(null);
    else if (held === null && isCurrent && live.head !== null)
      setHeld({ head: live.head, rows: live.rows });
  }, [isPaused, isHolding, held, isCurrent, live]);

  const hasStill = still.head !== null && !still.isRefreshing;
  const rows = held === null ? live.rows : hasStill ? still.rows : held.rows;
  const head = held?.head ?? live.head;
  const first = head?.first ?? 0;
  const total = live.head?.total ?? 0;
  const sections = head === null ? NO_SECTIONS : sectionsOf(head, grouping);
  const rowPx = useStableScroll(scroller, rows, first);

  const latest = useRef<Shown>(null);
  latest.current = { rows, first, total, rowPx, extent, isStill: held !== null };
  const moveTo = useCallback((next: Anchor) => {
    setHeld(null);
    setPlace((old) =>
      JSON.stringify(old.at) === JSON.stringify(next) ? old : { ...old, at: next },
    );
  }, []);
  useEffect(() => {
    const element = scroller.current;
    if (element === null) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const onRest = () => {
      const next = nextAnchor(element, latest.current as Shown);
      if (next !== null) moveTo(next);
    };
    const onScroll = () => {
      clearTimeout(timer);
      timer = setTimeout(onRest, REST_MS);
    };
    element.addEventListener("scroll", onScroll, { passive: true });
    return () => {
      clearTimeout(timer);
      element.removeEventListener("scroll", onScroll);
    };
  }, [scroller, moveTo]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another list starts at its top.
  useEffect(() => {
    scroller.current?.scrollTo({ top: 0 });
  }, [scroller, filterKey]);

  return {
    live,
    rows,
    first,
    isOrderChanged: held !== null && isCurrent && isOtherOrder(held.rows, live.rows),
    sections,
    abovePx: first * rowPx + headsAbove(sections, first) * HEAD_PX,
    belowPx:
      Math.max(0, total - first - rows.length) * rowPx +
      sections.filter((section) => section.start >= first + rows.length).length * HEAD_PX,
    hold,
  };
}

const NO_SECTIONS: readonly Section[] = [];

/** Heads above a window, without that of its first row, which is drawn with it. */
function headsAbove(sections: readonly Section[], first: number): number {
  const shown = sectionAt(sections, first);
  return shown === undefined ? 0 : sections.indexOf(shown);
}

function projectOf({ project }: { project?: string | null }): { project?: string } {
  return project ? { project } : {};
}

function isOtherOrder(held: readonly TaskRow[], live: readonly TaskRow[]): boolean {
  return held.length !== live.length || held.some((task, at) => task.k !== live[at]?.k);
}

function rowsIn(scroller: HTMLElement): readonly Element[] {
  return [...(scroller.firstElementChild?.querySelectorAll(":scope > [aria-posinset]") ?? [])];
}

interface Shown {
  rows: readonly TaskRow[];
  first: number;
  total: number;
  rowPx: number;
  extent: Extent;
  /** Whether the order stands still under a pointer. */
  isStill: boolean;
}

/** The window to ask for where the list is scrolled to; null: the present one stays. */
function nextAnchor(element: HTMLElement, shown: Shown): Anchor | null {
  const { rows, first, total, rowPx, extent, isStill } = shown;
  if (rows.length === 0 || rows.length >= total) return null;
  const { top, bottom } = element.getBoundingClientRect();
  const boxes = rowsIn(element).map((item) => item.getBoundingClientRect());
  const at = boxes.findIndex((box) => box.bottom > top);
  const topmost = rows[at];
  const isInView = topmost !== undefined && (boxes[at]?.top ?? bottom) < bottom;
  if (!isInView) {
    // The scroll bar was dragged past the window.
    const row = Math.max(0, Math.floor(element.scrollTop / rowPx) - extent.edge);
    return { row: row - (row % GRID) };
  }
  const isAtStart = first === 0 && element.scrollTop < 2;
  const end = boxes.findLastIndex((box) => box.top < bottom);
  const isNearEdge =
    (first > 0 && at < extent.edge) ||
    (first + rows.length < total && end >= rows.length - extent.edge);
  // Under a pointer the window moves only if there is nothing left to scroll to.
  if (isStill && !isNearEdge) return null;
  if (isAtStart) return START;
  return { key: topmost.k, above: Math.min(first + at, extent.above) };
}

/**
 * Keep the topmost visible card where it is when cards above it come, go or change their height.
 *
 * Returns: the average height of a card.
 */
function useStableScroll(
  scroller: RefObject<HTMLElement | null>,
  rows: readonly TaskRow[],
  first: number,
): number {
  const [rowPx, setRowPx] = useState(FIRST_GUESS_PX);
  /** Where the visible cards were, from the top of the list's box. */
  const places = useRef<readonly { key: string; top: number }[]>([]);
  const shownRows = useRef(rows);
  shownRows.current = rows;
  const note = useCallback(() => {
    const element = scroller.current;
    if (element === null) return;
    const box = element.getBoundingClientRect();
    places.current = rowsIn(element).flatMap((item, at) => {
      const { top, bottom } = item.getBoundingClientRect();
      const key = shownRows.current[at]?.k;
      const isInView = bottom > box.top && top < box.bottom;
      return key !== undefined && isInView ? [{ key, top: top - box.top }] : [];
    });
  }, [scroller]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: what moves cards.
  useLayoutEffect(() => {
    const element = scroller.current;
    if (element === null) return;
    const items = rowsIn(element);
    if (element.scrollTop > 1) {
      const index = new Map(rows.map((task, at) => [task.k, at]));
      const anchor = places.current.find(({ key }) => index.has(key));
      const item = anchor && items[index.get(anchor.key) as number];
      if (item) {
        const top = item.getBoundingClientRect().top - element.getBoundingClientRect().top;
        const movedPx = top - anchor.top;
        if (Math.abs(movedPx) >= 0.25) element.scrollTop += movedPx;
      }
    }
    note();
    const [topmost, lowest] = [items[0], items.at(-1)];
    if (topmost && lowest) {
      const heightPx = lowest.getBoundingClientRect().bottom - topmost.getBoundingClientRect().top;
      const average = Math.round(heightPx / items.length);
      setRowPx((old) => (Math.abs(average - old) > old / 10 ? average : old));
    }
  }, [scroller, note, rows, first, rowPx]);
  useEffect(() => {
    const element = scroller.current;
    if (element === null) return;
    element.addEventListener("scroll", note, { passive: true });
    return () => element.removeEventListener("scroll", note);
  }, [scroller, note]);
  return rowPx;
}
