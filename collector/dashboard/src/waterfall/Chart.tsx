/** The waterfall of one task: its head, the strip, the rows, and what was searched for in it. */
import { useCallback, useEffect, useRef, useState } from "react";
import type { Status } from "../feed/wire";
import { useMedia } from "../lib/browser";
import {
  FEW_SPANS,
  type FirstFolds,
  type Folds,
  foldParams,
  isFolded,
  openAtFirst,
  readFolds,
  withFolded,
  writeFolds,
} from "../tree/folds";
import { type SeekAnswer, useSeek } from "../tree/use-seek";
import { useTreeWindow } from "../tree/window";
import { useNow } from "../views/useNow";
import { useView } from "../views/useView";
import type { TreeRow } from "../views/view-types";
import { ChartHead } from "./ChartHead";
import { DensityStrip, type StripMark } from "./DensityStrip";
import { RowDetail } from "./RowDetail";
import { TreeGrid } from "./TreeGrid";
import { ticks, tickText } from "./ticks";
import {
  axisEnd,
  readZoom,
  timeAttributes,
  useChartKeys,
  useTimeAxis,
  writeZoom,
  type ZoomRange,
} from "./time-axis";
import { useControllable } from "./use-controllable";
import type { WaterfallProps } from "./Waterfall";
import { Legend } from "./WaterfallRow";

const MAX_TICKS = 6;
const ALL_OPEN: FirstFolds = { isFolded: false, open: [] };

interface ChartProps extends WaterfallProps {
  task: string;
}

export function Chart(props: ChartProps) {
  const { feed, task, filter, node = "", job = "", request = 0, onNode } = props;
  const [folds, setFolds] = useControllable<Folds>(
    props.folds,
    props.onFolds,
    readFolds,
    writeFolds,
  );
  const [zoom, setZoom] = useControllable<ZoomRange>(props.zoom, props.onZoom, readZoom, writeZoom);
  const [isMatchesOnly, setMatchesOnly] = useState(true);
  const [cursor, setCursor] = useState<string | null>(null);
  const [notice, setNotice] = useState<Notice | null>(null);
  const [start, setStart] = useState<number | null>(null);
  // Whether the task is folded is decided once: rows must not jump when it grows past 500 spans.
  const [first, setFirst] = useState<{ isKnown: boolean; folds: FirstFolds }>({
    isKnown: false,
    folds: ALL_OPEN,
  });
  const isWide = useMedia("(min-width: 1280px)");
  const now = useNow(feed);

  // Only of an unfiltered tree the first rows show what to fold.
  const isFiltering = isMatchesOnly && first.isKnown;
  const status = isFiltering && filter?.status ? [filter.status as Status] : null;
  const type = isFiltering && filter?.type ? filter.type : null;
  const text = isFiltering && filter?.text ? filter.text : null;
  const range = zoom !== null && start !== null && first.isKnown ? listedTime(start, zoom) : null;
  const isFiltered = status !== null || type !== null || text !== null || range !== null;
  const scroller = useRef<HTMLDivElement>(null);
  const [isEnded, setEnded] = useState(true);
  const tree = useTreeWindow(
    feed,
    { task, ...foldParams(folds, first.folds), zoom: range, status, type, text },
    scroller,
    {
      isFollowed: !isEnded && !isFiltered && first.isKnown && !node && !job,
      chosen: cursor,
      onMissing: () => setNotice(isFiltered ? HIDDEN : LEFT),
    },
  );
  const { view, rowAt } = tree;
  const { head, rows } = view;
  const isFresh = head !== null && !view.isRefreshing;
  if (head !== null && head.start !== start) setStart(head.start);
  if (head !== null && (head.end !== null) !== isEnded) setEnded(head.end !== null);
  if (isFresh && !first.isKnown) {
    if (first.folds.isFolded || head.nodes.seen <= FEW_SPANS) {
      const open = first.folds.isFolded ? openAtFirst(rows) : first.folds.open;
      setFirst({ isKnown: true, folds: { ...first.folds, open } });
    } else {
      const root = head.path[0] ?? rows[0];
      setFirst({ isKnown: false, folds: { isFolded: true, open: root ? [root.k] : [] } });
    }
  }

  const strip = useView(feed, "strip", { task });
  const t0 = start ?? rows[0]?.queued ?? rows[0]?.start ?? now;
  const endMs = axisEnd(isEnded ? lastEnd(head?.end ?? now, strip) : now, t0);
  const root = useRef<HTMLDivElement>(null);
  useTimeAxis(root, feed, t0, !isEnded, endMs, zoom);
  const from = zoom?.from ?? 0;
  const to = zoom?.to ?? endMs;
  // The axis grows continuously but ticks are added once a second, so add those of the next second
  // too.
  const ticksTo = !isEnded && !zoom ? to + 1000 : to;
  const marks = ticks(from / 1000, ticksTo / 1000, MAX_TICKS);

  // --- searches: what a link names, the next failure, a place in the strip ---
  const onAnswer = ({ seek, found, isAgain }: SeekAnswer) => {
    if (found === null) {
      setNotice(seek.kind === "failure" ? NO_FAILURE : seek.kind === "time" ? NOTHING_THEN : LEFT);
      return;
    }
    const folded = found.above.filter((row) => isFolded(folds, first.folds, row.k));
    if (folded.length > 0)
      setFolds(
        withFolded(
          folds,
          folded.map((row) => row.k),
          false,
        ),
      );
    setCursor(found.key);
    setNotice(isAgain ? AGAIN : null);
    tree.goTo({ key: found.key }, "center");
    if (seek.kind === "failure" || seek.kind === "time") onNode?.(found.key);
  };
  const seek = useSeek(feed, task, { zoom: range, type, text }, onAnswer);
  const cursorNow = useRef(cursor);
  cursorNow.current = cursor;
  const isReady = first.isKnown;
  const lastRequest = useRef(0);
  useEffect(() => {
    if (!isReady) return;
    const isAsked = request !== lastRequest.current;
    lastRequest.current = request;
    if (node) {
      if (isAsked || node !== cursorNow.current) seek({ kind: "row", key: node });
    } else if (job) seek({ kind: "job", job });
    else setCursor(null);
  }, [isReady, node, job, request, seek]);
  const nextFailure = (step: 1 | -1) => seek({ kind: "failure", from: cursor, step });
  const onGo = ({ from, to, isFailed }: StripMark) => {
    if (zoom !== null && (to < zoom.from || from > zoom.to)) {
      const half = (zoom.to - zoom.from) / 2;
      const middle = Math.max(half, (from + to) / 2);
      setZoom({ from: middle - half, to: middle + half });
    }
    seek({ kind: "time", from: t0 + from, to: t0 + to, isFailed });
  };

  // --- what the user does with rows ---
  const foldAll = (isFolded: boolean) => {
    const key = (head?.path[0] ?? rowAt(0))?.k;
    const open: [string, boolean][] = isFolded && key !== undefined ? [[key, false]] : [];
    setFolds(new Map<string | null, boolean>([[null, isFolded], ...open]));
  };
  useChartKeys({ foldAll, zoom, setZoom, endMs, nextFailure });
  const onFold = useStable((row: TreeRow, isNowFolded: boolean) => {
    setFolds(withFolded(folds, [row.k], isNowFolded));
    if (tree.indexOf(row.k) >= (tree.list.topmost ?? 0)) tree.hold(row.k);
    else tree.goTo({ key: row.k }, "top");
  });
  const onCursor = useStable((key: string) => {
    setCursor(key);
    if (props.isDetailed) onNode?.(key);
  });
  const choose = (row: TreeRow, isByKey: boolean) => {
    setCursor(row.k);
    setNotice(null);
    const index = tree.indexOf(row.k);
    if (index >= 0) tree.hold(row.k);
    if (props.onOpen) props.onOpen(row.k, isByKey);
    else onNode?.(row.k);
  };
  const onChoose = useStable((row: TreeRow) => choose(row, false));
  const onEnter = useStable((row: TreeRow) => choose(row, true));
  const onUnchoose = () => {
    setCursor(null);
    onNode?.("");
  };
  // The chosen row stays in sight: the filter may have shown it inside of a folded one.
  const showChosen = () => {
    setNotice(null);
    if (cursor !== null) seek({ kind: "row", key: cursor });
  };
  const onMatchesOnly = (isOn: boolean) => {
    setMatchesOnly(isOn);
    showChosen();
  };
  const onResetZoom = () => {
    setZoom(null);
    showChosen();
  };
  const showAll = () => {
    setMatchesOnly(false);
    setZoom(null);
    showChosen();
  };

  if (view.status === "gone" || view.status === "refused") {
    return (
      <section className="panel waterfall" aria-label="Waterfall">
        <ChartHead {...props} tree={tree} zoom={null} />
        <p className="none" role="status">
          {view.status === "refused"
            ? `The collector does not show this task: ${view.why}`
            : "This task is not, or no longer, in the collector's memory. The event log may have its events."}
        </p>
      </section>
    );
  }
  const classNames = ["panel", "waterfall"];
  if (!isReady || tree.isOtherQuery) classNames.push("is-refreshing");
  const cursorIndex = cursor === null ? -1 : tree.indexOf(cursor);
  return (
    <section className={classNames.join(" ")} aria-label="Waterfall">
      <ChartHead
        {...props}
        tree={tree}
        zoom={zoom}
        onResetZoom={onResetZoom}
        isMatchesOnly={isMatchesOnly}
        onMatchesOnly={onMatchesOnly}
        onNextFailure={nextFailure}
      />
      <div className="wf" ref={root}>
        <div className="wf-axis">
          <span className="wf-label" />
          <DensityStrip
            head={strip.head}
            rows={strip.rows}
            t0={t0}
            endMs={endMs}
            zoom={zoom}
            onZoom={setZoom}
            onGo={onGo}
          />
          <span className="wf-took" />
        </div>
        <div className="wf-axis wf-ticks" aria-hidden="true">
          <span className="wf-label" />
          <span className="wf-track">
            {marks.map((sec) => (
              <span key={sec} className="wf-tick num" {...timeAttributes(sec * 1000, sec * 1000)}>
                {tickText(sec)}
              </span>
            ))}
          </span>
          <span className="wf-took" />
        </div>
        <TreeGrid
          tree={tree}
          scroller={scroller}
          task={task}
          t0={t0}
          now={now}
          lines={marks.map((sec) => sec * 1000)}
          folds={folds}
          firstFolds={first.folds}
          isFiltered={isFiltered}
          cursor={cursor}
          onCursor={onCursor}
          onChoose={onChoose}
          onEnter={onEnter}
          onFold={onFold}
        />
      </div>
      {notice && (
        <p className="wf-notice" role="status">
          {notice.text}
          {notice.canShowAll && (
            <button type="button" className="link" onClick={showAll}>
              Show all rows
            </button>
          )}
          <button type="button" className="link" onClick={() => setNotice(null)}>
            Dismiss
          </button>
        </p>
      )}
      {cursor !== null && !props.isDetailed && (
        <RowDetail
          feed={feed}
          task={task}
          rowKey={cursor}
          row={cursorIndex < 0 ? undefined : rowAt(cursorIndex)}
          now={now}
          onShown={() => {
            if (cursorIndex >= 0) tree.list.scrollTo(cursorIndex);
          }}
          onClose={onUnchoose}
        />
      )}
      {!isWide && <Legend />}
    </section>
  );
}

interface Notice {
  text: string;
  canShowAll?: boolean;
}

const HIDDEN: Notice = { text: "The filter or the zoom hides this row.", canShowAll: true };
const LEFT: Notice = {
  text: "What this link names is not, or no longer, in the collector's memory. The event log may have it.",
};
const NO_FAILURE: Notice = { text: "No failed row among those that are shown." };
const NOTHING_THEN: Notice = { text: "Nothing that is still in memory ran then." };
const AGAIN: Notice = { text: "Started again from the other end." };

/**
 * The time of the rows that are listed while the chart is zoomed. Times of rows are whole
 * milliseconds: rounded outwards, the list would start with rows whose bars are not in the chart.
 */
function listedTime(start: number, zoom: { from: number; to: number }): readonly [number, number] {
  const [from, to] = [Math.ceil(start + zoom.from), Math.floor(start + zoom.to)];
  return from <= to ? [from, to] : [to, from];
}

/** When an ended task's last attempt ended: attempts can end after the task itself. */
function lastEnd(end: number, { head, rows }: ReturnType<typeof useView<"strip">>): number {
  const last = rows.findLast((row) => row.ended > 0);
  if (head === null || head.start === null || last === undefined) return end;
  const from = head.start + Number(last.k) * head.step;
  return from > end ? from + head.step : end;
}

/** The same function for the life of the component, which does what the newest one does. */
function useStable<A extends unknown[]>(action: (...args: A) => void): (...args: A) => void {
  const latest = useRef(action);
  latest.current = action;
  return useCallback((...args: A) => latest.current(...args), []);
}
