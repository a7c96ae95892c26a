import { useVirtualizer } from "@tanstack/react-virtual";
import {
  type CSSProperties,
  memo,
  type PointerEvent,
  useCallback,
  useEffect,
  useMemo,
  useRef,
  useState,
} from "react";
import { onFrame, useMedia, useNow } from "./browser";
import type { EventWish } from "./event-view";
import type { FeedStore } from "./feed-store";
import { count, duration, elapsed, full, STATUS_WORDS, taskName, words } from "./format";
import { ChevronIcon, CloseIcon, ExternalIcon, StatusIcon } from "./icons";
import { useSlice } from "./useMonitoringFeed";
import type { SpanView } from "./span-views";
import type { CardView } from "./views";
import { density, lastBegun, ticks, tickText, type WaterRow, waterRows } from "./waterfall-rows";
import type { Status } from "./wire";

const ROW_PX = 24;
/** More than are ever drawn at once; a row that scrolls in takes over one that scrolled out. */
const ROW_POOL = 256;
const MAX_TICKS = 6;
/** Every write lays the whole chart out anew; bars that grow 25 times a second look alive. */
const GROW_INTERVAL_MS = 38;
/** Room to the right of now, so that growing bars do not touch the edge. */
const AHEAD = 1.03;
const LEGEND: readonly Status[] = ["pending", "processing", "completed", "retrying", "failed", "stalled"];

export interface JobMark {
  taskId: string;
  jobId: string | null;
  /** Grows with every wish, so that the same job can be asked for again. */
  n: number;
}

interface WaterfallProps {
  store: FeedStore;
  card: CardView | null;
  wish: EventWish;
  /** A job to show. */
  mark: JobMark | null;
  traceLink: (traceId: string | undefined) => string | null;
  onClose?: (() => void) | undefined;
}

/** Seconds from the start of the research task; null: all of it, growing. */
type Window = { from: number; to: number } | null;

/** Phases and jobs of one research task over time; open ones grow. */
export function Waterfall({ store, card, wish, mark, traceLink, onClose }: WaterfallProps) {
  const { taskId, spans } = useSlice(store, "spans");
  if (card === null || taskId !== card.taskId) {
    return (
      <section className="panel waterfall" aria-label="Waterfall">
        <header className="panel-head">
          <h2>Waterfall</h2>
        </header>
        <p className="none">Choose a research task to see its phases and jobs over time.</p>
      </section>
    );
  }
  return (
    <Chart
      key={card.taskId}
      store={store}
      card={card}
      spans={spans}
      wish={wish}
      mark={mark}
      traceLink={traceLink}
      onClose={onClose}
    />
  );
}

interface ChartProps extends WaterfallProps {
  card: CardView;
  spans: readonly SpanView[];
}

function Chart({ store, card, spans, wish, mark, traceLink, onClose }: ChartProps) {
  const [folds, setFolds] = useState<ReadonlyMap<string, boolean>>(() => new Map());
  const [zoom, setZoom] = useState<Window>(null);
  const now = useNow(store);
  const isOpen = card.endedAt === null;
  const t0 = card.startedAt ?? spans[0]?.startedAt ?? now;
  const rows = useMemo(() => waterRows(spans, card, folds, wish), [spans, card, folds, wish]);

  const root = useRef<HTMLDivElement>(null);
  const last = rows.reduce((max, row) => Math.max(max, row.end ?? 0), card.endedAt ?? 0);
  const endSec = Math.max(0.05, ((isOpen ? Math.max(now, last) : last) - t0) / 1000) * AHEAD;
  useTimeAxis(root, store, t0, isOpen, endSec, zoom);
  const from = zoom?.from ?? 0;
  const to = zoom?.to ?? endSec;
  // The axis grows on every frame and these once a second: a young task needs those to come.
  const ticksTo = isOpen && !zoom ? to + 1 : to;

  const scroller = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_PX,
    overscan: 4,
    useFlushSync: false,
    getItemKey: (index) => rows[index]?.key ?? index,
  });
  useFollow(scroller, isOpen, lastBegun(rows));

  const fold = useCallback((phase: string, isFolded: boolean) => {
    setFolds((old) => new Map(old).set(phase, isFolded));
  }, []);
  const foldAll = useCallback(
    (isFolded: boolean) => {
      const names = new Set(spans.map((span) => span.phase ?? ""));
      setFolds(new Map([...names].map((name) => [name, isFolded])));
    },
    [spans],
  );
  useChartKeys(foldAll, setZoom, endSec);

  // A job asked for: unfold its phase, then bring it into view.
  useEffect(() => {
    if (!mark || mark.taskId !== card.taskId || mark.jobId === null) return;
    const span = store.get("spans").spans.find((each) => each.taskId === mark.jobId);
    if (span) fold(span.phase ?? "", false);
  }, [mark, card.taskId, store, fold]);
  const markIndex = mark ? rows.findIndex((row) => row.kind === "job" && row.taskId === mark.jobId) : -1;
  const shownMark = useRef(0);
  useEffect(() => {
    if (!mark || markIndex < 0 || shownMark.current === mark.n) return;
    shownMark.current = mark.n;
    virtual.scrollToIndex(markIndex, { align: "center" });
  }, [mark, markIndex, virtual]);

  // The phase of the topmost job stays visible while its jobs scroll by.
  const first = Math.floor((virtual.scrollOffset ?? 0) / ROW_PX);
  let pinned: WaterRow | undefined = rows[first];
  for (let index = first; pinned && pinned.kind !== "phase"; index--) pinned = rows[index];
  if (first === 0 && (virtual.scrollOffset ?? 0) < 2) pinned = undefined;

  const link = traceLink(card.traceId ?? undefined);
  return (
    <section className="panel waterfall" aria-label="Waterfall">
      <header className="panel-head">
        <h2>Waterfall</h2>
        <span className="wf-title" title={card.taskId}>
          <StatusIcon status={card.status} label />
          {taskName(card)}
        </span>
        <Legend />
        <span className="panel-end">
          {zoom && (
            <button type="button" className="button quiet" onClick={() => setZoom(null)}>
              Reset zoom
            </button>
          )}
          {link && (
            <a className="button quiet" href={link} target="_blank" rel="noopener noreferrer">
              <ExternalIcon /> Trace
            </a>
          )}
          {onClose && (
            <button type="button" className="icon-button" aria-label="Close" onClick={onClose}>
              <CloseIcon />
            </button>
          )}
        </span>
      </header>
      <div className="wf" ref={root}>
        <div className="wf-axis">
          <span className="wf-label" />
          <DensityStrip spans={spans} t0={t0} endSec={endSec} zoom={zoom} onZoom={setZoom} />
          <span className="wf-took" />
        </div>
        <div className="wf-axis wf-ticks" aria-hidden="true">
          <span className="wf-label" />
          <span className="wf-track">
            {ticks(from, ticksTo, MAX_TICKS).map((sec) => (
              <span key={sec} className="wf-tick num" style={times(sec, sec)}>
                {tickText(sec)}
              </span>
            ))}
          </span>
          <span className="wf-took" />
        </div>
        <div className="wf-body" ref={scroller} tabIndex={0} role="list" aria-label="Phases and jobs">
          <div className="wf-grid" aria-hidden="true">
            <span className="wf-track">
              {ticks(from, ticksTo, MAX_TICKS).map((sec) => (
                <span key={sec} className="wf-line" style={times(sec, sec)} />
              ))}
            </span>
          </div>
          {pinned && (
            <div className="wf-pinned">
              <Line row={pinned} t0={t0} top={0} now={pinned.end === null ? now : 0} isMarked={false} onFold={fold} />
            </div>
          )}
          <div className="wf-space" style={{ height: virtual.getTotalSize() }}>
            {virtual.getVirtualItems().map((item) => {
              const row = rows[item.index];
              if (!row) return null;
              return (
                <Line
                  key={item.index % ROW_POOL}
                  row={row}
                  t0={t0}
                  top={item.start}
                  now={row.end === null ? now : 0}
                  isMarked={item.index === markIndex}
                  onFold={fold}
                />
              );
            })}
          </div>
          {rows.length === 0 && <p className="none">No spans yet.</p>}
        </div>
      </div>
    </section>
  );
}

/** Times of a bar as custom properties; the axis itself is set once a frame, on the chart. */
function times(startSec: number, endSec: number | null): CSSProperties {
  const style: Record<string, number> = { "--s": startSec };
  if (endSec !== null) style["--e"] = endSec;
  return style as CSSProperties;
}

/**
 * Writes the window and now, in seconds, on the chart: one write a frame moves every bar.
 *
 * Only when something would move by a quarter of a pixel: a chart of two hours rests.
 */
function useTimeAxis(
  root: React.RefObject<HTMLDivElement | null>,
  store: FeedStore,
  t0: number,
  isOpen: boolean,
  endSec: number,
  zoom: Window,
): void {
  const isCalm = useMedia("(prefers-reduced-motion: reduce)");
  useEffect(() => {
    const element = root.current;
    if (!element) return;
    let writtenSec = Number.NaN;
    let writtenAt = 0;
    const width = element.clientWidth || 1000;
    const write = () => {
      const nowSec = (store.viewNow() - t0) / 1000;
      const to = zoom ? zoom.to : isOpen ? Math.max(0.05, nowSec) * AHEAD : endSec;
      const from = zoom ? zoom.from : 0;
      if (Math.abs(nowSec - writtenSec) < ((to - from) / width) * 0.25) return;
      const at = performance.now();
      if (at - writtenAt < GROW_INTERVAL_MS) return;
      writtenAt = at;
      writtenSec = nowSec;
      element.style.setProperty("--now", nowSec.toFixed(3));
      element.style.setProperty("--from", from.toFixed(3));
      element.style.setProperty("--span", Math.max(0.001, to - from).toFixed(3));
    };
    write();
    if (!isOpen || isCalm) return;
    return onFrame(write);
  }, [root, store, t0, isOpen, zoom, isCalm, isOpen && !isCalm && !zoom ? 0 : endSec]);
}

/** Keeps the row that began last in view, until the user scrolls elsewhere. */
function useFollow(
  scroller: React.RefObject<HTMLDivElement | null>,
  isOpen: boolean,
  index: number,
): void {
  const isFollowing = useRef(true);
  const target = useRef(0);
  useEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const onScroll = () => {
      isFollowing.current = Math.abs(element.scrollTop - target.current) < 3 * ROW_PX;
    };
    element.addEventListener("scroll", onScroll, { passive: true });
    return () => element.removeEventListener("scroll", onScroll);
  }, [scroller]);
  useEffect(() => {
    const element = scroller.current;
    if (!element || !isOpen) return;
    // Two rows of what comes next stay visible below.
    const top = (index + 3) * ROW_PX - element.clientHeight;
    target.current = Math.max(0, Math.min(top, element.scrollHeight - element.clientHeight));
    if (isFollowing.current) element.scrollTop = target.current;
  }, [scroller, isOpen, index]);
}

/** w and e fold and unfold, a and d pan, + and - zoom, 0 shows everything. */
function useChartKeys(
  foldAll: (isFolded: boolean) => void,
  setZoom: (change: (old: Window) => Window) => void,
  endSec: number,
): void {
  const latest = useRef(endSec);
  latest.current = endSec;
  useEffect(() => {
    const onKey = (event: Event) => {
      const key = (event as CustomEvent<string>).detail;
      if (key === "w") foldAll(true);
      else if (key === "e") foldAll(false);
      else setZoom((old) => move(old, key, latest.current));
    };
    window.addEventListener("ob:chart", onKey);
    return () => window.removeEventListener("ob:chart", onKey);
  }, [foldAll, setZoom]);
}

export function move(old: Window, key: string, endSec: number): Window {
  const { from, to } = old ?? { from: 0, to: endSec };
  const span = to - from;
  const middle = (from + to) / 2;
  switch (key) {
    case "a":
      return old && { from: Math.max(0, from - span / 4), to: Math.max(span, to - span / 4) };
    case "d":
      return old && { from: from + span / 4, to: to + span / 4 };
    case "+":
      return { from: middle - span / 4, to: middle + span / 4 };
    case "-":
      if (span * 2 >= endSec) return null;
      return { from: Math.max(0, middle - span), to: middle + span };
    default:
      return null;
  }
}

interface LineProps {
  row: WaterRow;
  t0: number;
  top: number;
  now: number;
  isMarked: boolean;
  onFold: (phase: string, isFolded: boolean) => void;
}

const Line = memo(function Line({ row, t0, top, now, isMarked, onFold }: LineProps) {
  const isPhase = row.kind === "phase";
  const took = row.end === null ? elapsed(now - row.start) : duration(row.end - row.start);
  const names = ["wf-row", `is-${row.kind}`];
  if (row.isDim) names.push("is-dim");
  if (isMarked) names.push("is-marked");
  return (
    <div
      className={names.join(" ")}
      role="listitem"
      style={{ transform: `translateY(${top}px)` }}
      title={titleOf(row)}
    >
      <span className="wf-label">
        {isPhase ? (
          <button
            type="button"
            className="wf-fold"
            aria-expanded={!row.isFolded}
            disabled={row.jobs === 0}
            onClick={() => onFold(row.phase, !row.isFolded)}
          >
            <ChevronIcon />
            <StatusIcon status={row.status} label />
            <span className="wf-name">{row.label}</span>
            {row.jobs > 0 && <span className="muted num">{count(row.jobs)}</span>}
          </button>
        ) : (
          <>
            <StatusIcon status={row.status} label />
            <span className="wf-name id">{row.label}</span>
            {row.workerId !== null && <span className="wf-worker muted">{row.workerId}</span>}
          </>
        )}
      </span>
      <span className="wf-track">{isPhase ? <PhaseBar row={row} t0={t0} /> : <JobBars row={row} t0={t0} />}</span>
      <span className="wf-took num">{took}</span>
    </div>
  );
});

function PhaseBar({ row, t0 }: { row: WaterRow; t0: number }) {
  const end = row.end === null ? null : (row.end - t0) / 1000;
  return (
    <span
      className={`wf-bar wf-phase is-${row.status}${end === null ? " is-open" : ""}`}
      style={times((row.start - t0) / 1000, end)}
    />
  );
}

function JobBars({ row, t0 }: { row: WaterRow; t0: number }) {
  const sec = (ms: number) => (ms - t0) / 1000;
  const parts = [];
  let idleSince: number | null = null;
  for (const bar of row.bars) {
    const waited = bar.queuedAt === null ? idleSince : Math.max(bar.queuedAt, idleSince ?? 0);
    if (waited !== null && bar.startedAt !== null && bar.startedAt > waited) {
      parts.push(
        <span
          key={`${bar.spanId} q`}
          className="wf-bar is-queued"
          style={times(sec(waited), sec(bar.startedAt))}
        />,
      );
    }
    if (bar.startedAt === null) {
      if (waited !== null && bar.endedAt === null) {
        parts.push(
          <span
            key={bar.spanId}
            className="wf-bar is-queued is-open"
            style={times(sec(waited), null)}
          />,
        );
      }
      continue;
    }
    parts.push(
      <span
        key={bar.spanId}
        className={`wf-bar is-${bar.status}${bar.endedAt === null ? " is-open" : ""}`}
        style={times(sec(bar.startedAt), bar.endedAt === null ? null : sec(bar.endedAt))}
      />,
    );
    idleSince = bar.endedAt;
  }
  if (row.end === null && row.status === "retrying" && idleSince !== null) {
    parts.push(
      <span key="wait" className="wf-bar is-queued is-open" style={times(sec(idleSince), null)} />,
    );
  }
  return parts;
}

function titleOf(row: WaterRow): string {
  const lines = [`${row.taskId ?? row.label}: ${STATUS_WORDS[row.status]}`];
  if (row.workerId !== null) lines.push(`worker ${row.workerId}`);
  if (row.bars.length > 1 && row.kind === "job") lines.push(`${row.bars.length} attempts`);
  lines.push(`from ${full(row.start)}`);
  if (row.end !== null) lines.push(`to ${full(row.end)}`);
  if (row.error) lines.push(row.error);
  return lines.join("\n");
}

/** Made of the bars' own styles, so that it cannot say something else. */
const Legend = memo(function Legend() {
  return (
    <ul className="legend" aria-label="Legend">
      {LEGEND.map((status) => (
        <li key={status}>
          <span
            className={`wf-bar legend-bar is-${status === "pending" ? "queued" : status}`}
            aria-hidden="true"
          />
          {words(STATUS_WORDS[status])}
        </li>
      ))}
    </ul>
  );
});

interface DensityProps {
  spans: readonly SpanView[];
  t0: number;
  endSec: number;
  zoom: Window;
  onZoom: (zoom: Window) => void;
}

const STRIP_PX = 26;

/** Jobs ended over time, failures on the baseline; drag to zoom in. */
function DensityStrip({ spans, t0, endSec, zoom, onZoom }: DensityProps) {
  const { bucketSec, buckets, top } = useMemo(() => density(spans, t0, endSec), [spans, t0, endSec]);
  const drag = useRef<number | null>(null);
  const [brush, setBrush] = useState<Window>(null);
  const at = (event: PointerEvent<SVGSVGElement>) => {
    const box = event.currentTarget.getBoundingClientRect();
    return Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * endSec;
  };
  const onDown = (event: PointerEvent<SVGSVGElement>) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    drag.current = at(event);
  };
  const onMove = (event: PointerEvent<SVGSVGElement>) => {
    if (drag.current === null) return;
    const here = at(event);
    setBrush({ from: Math.min(drag.current, here), to: Math.max(drag.current, here) });
  };
  const onUp = () => {
    // Less than a hundredth of the axis is a click, not a stretch.
    if (brush && brush.to - brush.from > endSec / 100) onZoom(brush);
    drag.current = null;
    setBrush(null);
  };
  let all = "";
  let failed = "";
  buckets.forEach(([ended, bad], index) => {
    if (ended === 0) return;
    const x = (index * bucketSec * 1000) / endSec;
    const width = (bucketSec * 1000 * 0.8) / endSec;
    const height = Math.max(2, (ended / top) * (STRIP_PX - 5));
    all += `M${x.toFixed(2)} ${STRIP_PX - 3}h${width.toFixed(2)}v${(-height).toFixed(1)}h${(-width).toFixed(2)}z`;
    if (bad > 0) failed += `M${x.toFixed(2)} ${STRIP_PX}h${width.toFixed(2)}v-3h${(-width).toFixed(2)}z`;
  });
  const shown = brush ?? zoom;
  const failures = buckets.reduce((sum, bucket) => sum + bucket[1], 0);
  const ended = buckets.reduce((sum, bucket) => sum + bucket[0], 0);
  return (
    <svg
      className="density"
      viewBox={`0 0 1000 ${STRIP_PX}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={`${ended} attempts ended over time, ${failures} of them failed. Drag to zoom in.`}
      onPointerDown={onDown}
      onPointerMove={onMove}
      onPointerUp={onUp}
      onDoubleClick={() => onZoom(null)}
    >
      <path className="density-all" d={all} />
      <path className="density-failed" d={failed} />
      {shown && (
        <rect
          className="density-brush"
          x={(shown.from * 1000) / endSec}
          width={((shown.to - shown.from) * 1000) / endSec}
          y="0"
          height={STRIP_PX}
        />
      )}
    </svg>
  );
}
