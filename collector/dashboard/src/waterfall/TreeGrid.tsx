/** The rows of the waterfall: a treegrid that draws what is visible of it. */
import { type KeyboardEvent, type RefObject, useEffect, useId, useMemo, useRef } from "react";
import { type FirstFolds, type Folds, isFolded } from "../tree/folds";
import { rowsAbove, siblingPlaces } from "../tree/rows";
import { ROW_PX, type TreeWindow } from "../tree/window";
import type { TreeRow } from "../views/view-types";
import { timeAttributes } from "./time-axis";
import { WaterfallRow } from "./WaterfallRow";

interface TreeGridProps {
  tree: TreeWindow;
  scroller: RefObject<HTMLDivElement | null>;
  task: string;
  t0: number;
  now: number;
  /** Times of the lines, ms from the task's start. */
  lines: readonly number[];
  folds: Folds;
  firstFolds: FirstFolds;
  /** With a filter all rows on the way to a match are shown, and nothing can be folded. */
  isFiltered: boolean;
  /** Key of the row that the keyboard is at; null: none. */
  cursor: string | null;
  onCursor: (key: string) => void;
  /** A row was clicked. */
  onChoose: (row: TreeRow) => void;
  /** The row with the cursor was chosen with Enter. */
  onEnter: (row: TreeRow) => void;
  onFold: (row: TreeRow, isFolded: boolean) => void;
}

export function TreeGrid(props: TreeGridProps) {
  const { tree, scroller, task, t0, now, folds, firstFolds, isFiltered, cursor } = props;
  const { view, first, total, list, rowAt, indexOf } = tree;
  const { rows, head } = view;
  const path = head?.path ?? NO_ROWS;
  const id = useId();
  const places = useMemo(() => (isFiltered ? [] : siblingPlaces(rows)), [rows, isFiltered]);

  // Home and End go to rows that may still have to come.
  const edge = useRef<"first" | "last" | null>(null);
  const { onCursor } = props;
  useEffect(() => {
    if (edge.current === null || view.isRefreshing) return;
    const row = rowAt(edge.current === "first" ? 0 : total - 1);
    if (row === undefined) return;
    edge.current = null;
    onCursor(row.k);
  });

  const isRowFolded = (row: TreeRow) => !isFiltered && isFolded(folds, firstFolds, row.k);
  const canFold = (row: TreeRow) => !isFiltered && row.kids > 0 && row.kind !== "more";
  const move = (index: number) => {
    const row = rowAt(index);
    if (row === undefined) return;
    // The row above is shown, too: the pinned one may cover it.
    if (index - 1 < (list.topmost ?? 0)) list.scrollTo(Math.max(0, index - 1));
    else list.scrollTo(index);
    onCursor(row.k);
  };
  const goToEdge = (to: "first" | "last") => {
    edge.current = to;
    tree.goTo(to, "nearest");
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const index = cursor === null ? -1 : indexOf(cursor);
    const row = index < 0 ? undefined : rowAt(index);
    if (event.key === "Home") goToEdge("first");
    else if (event.key === "End") goToEdge("last");
    else if (!ROW_KEYS.has(event.key)) return;
    else if (row === undefined) {
      if (cursor === null) move(list.topmost ?? 0);
      else tree.goTo({ key: cursor }, "center");
    } else if (event.key === "ArrowDown") move(index + 1);
    else if (event.key === "ArrowUp") move(index - 1);
    else if (event.key === "Enter") props.onEnter(row);
    else if (event.key === "ArrowRight") {
      if (canFold(row) && isRowFolded(row)) props.onFold(row, false);
      else if ((rowAt(index + 1)?.depth ?? 0) > row.depth) move(index + 1);
    } else if (canFold(row) && !isRowFolded(row)) props.onFold(row, true);
    else goUp(index);
    event.preventDefault();
  };
  const goUp = (index: number) => {
    const [parent] = rowsAbove(rows, index - first, path);
    if (parent === undefined) return;
    if (indexOf(parent.k) >= 0) move(indexOf(parent.k));
    else {
      onCursor(parent.k);
      tree.goTo({ key: parent.k }, "center");
    }
  };

  // The row above the topmost ones stays visible while they are scrolled; the task is in the title.
  let pinned: TreeRow | undefined;
  if (list.topmost !== null) {
    const below = Math.min(list.second, total - 1);
    if (rowAt(below) !== undefined) [pinned] = rowsAbove(rows, below - first, path);
  }
  if (pinned?.depth === 0) pinned = undefined;

  const drawn: number[] = [];
  for (let index = list.first; index < list.end; index++) {
    if (rowAt(index) !== undefined) drawn.push(index);
  }
  const loadedEnd = first + rows.length;
  const blanks = [
    { from: list.first, to: Math.min(list.end, first) },
    { from: Math.max(list.first, loadedEnd), to: list.end },
  ].filter(({ from, to }) => from < to);
  const rowProps = (row: TreeRow) => ({
    row,
    task,
    t0,
    now: row.end === null ? now : 0,
    isFolded: isRowFolded(row),
    canFold: canFold(row),
    isChosen: row.k === cursor,
    onFold: props.onFold,
    onChoose: props.onChoose,
  });
  const isCursorDrawn = drawn.some((index) => rowAt(index)?.k === cursor);
  return (
    <div
      className="wf-body"
      ref={scroller}
      tabIndex={0}
      role="treegrid"
      aria-label="Phases and jobs"
      aria-rowcount={total}
      aria-busy={view.isRefreshing}
      aria-activedescendant={isCursorDrawn ? `${id}cursor` : undefined}
      onKeyDown={onKeyDown}
    >
      <div className="wf-grid" aria-hidden="true">
        <span className="wf-track">
          {props.lines.map((ms) => (
            <span key={ms} className="wf-line" {...timeAttributes(ms, ms)} />
          ))}
        </span>
      </div>
      {pinned && (
        <div className="wf-pinned" aria-hidden="true">
          <WaterfallRow {...rowProps(pinned)} index={0} top={0} place={null} />
        </div>
      )}
      <div className="wf-space" role="rowgroup" style={{ height: list.totalPx }}>
        {blanks.map(({ from, to }) => (
          <div
            key={from < first ? "above" : "below"}
            className="wf-blank"
            aria-hidden="true"
            style={{ top: from * ROW_PX, height: (to - from) * ROW_PX }}
          />
        ))}
        {drawn.map((index) => {
          const row = rowAt(index) as TreeRow;
          return (
            <WaterfallRow
              key={list.slotOf(index)}
              {...rowProps(row)}
              {...(row.k === cursor ? { id: `${id}cursor` } : {})}
              index={index}
              top={index * ROW_PX}
              place={places[index - first] ?? null}
            />
          );
        })}
      </div>
      {total === 0 && (
        <div className="none" role="row">
          <span role="gridcell">{emptyText(view.isRefreshing, isFiltered)}</span>
        </div>
      )}
    </div>
  );
}

function emptyText(isRefreshing: boolean, isFiltered: boolean): string {
  if (isRefreshing) return "Asking the collector…";
  return isFiltered ? "No rows match." : "No spans yet.";
}

const NO_ROWS: readonly TreeRow[] = [];
const ROW_KEYS: ReadonlySet<string> = new Set([
  "ArrowDown",
  "ArrowUp",
  "ArrowLeft",
  "ArrowRight",
  "Enter",
]);
