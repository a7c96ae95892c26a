/** The waterfall: phases and jobs of one research task over time. */
import { memo, useCallback, useEffect, useMemo, useRef, useState } from "react";
import type { FeedStore } from "../feed/feed-store";
import { useNow } from "../feed/use-now";
import { useSlice } from "../feed/useMonitoringFeed";
import { useMedia } from "../lib/browser";
import { useFixedRows } from "../lib/fixed-rows";
import { taskName } from "../lib/format";
import { CloseIcon, ExternalIcon, StatusIcon } from "../lib/icons";
import type { EventWish as EventFilter } from "../old/event-view";
import type { SpanView } from "../old/span-views";
import type { CardView } from "../old/views";
import { DensityStrip } from "./DensityStrip";
import {
  type FoldedPhases,
  readFoldedPhases,
  withPhaseFolded,
  writeFoldedPhases,
} from "./folded-phases";
import {
  axisEnd,
  readZoom,
  useChartKeys,
  useTimeAxis,
  writeZoom,
  type ZoomRange,
} from "./time-axis";
import { Legend, timeAttributes, WaterfallRow } from "./WaterfallRow";
import {
  type ChartRow,
  chartRows,
  lastStartedIndex,
  RowCache,
  ticks,
  tickText,
} from "./waterfall-rows";

const ROW_PX = 24;
const MAX_TICKS = 6;

/** A request to show a job of a research task, or the task itself without `jobId`. */
export interface JobMark {
  taskId: string;
  jobId: string | null;
  /** Grows with every request, so that the same job can be shown again. */
  n: number;
}

interface WaterfallProps {
  store: FeedStore;
  card: CardView | null;
  /** Rows that this filter does not match are dimmed. */
  wish: EventFilter;
  /** The job to scroll to and mark. */
  mark: JobMark | null;
  traceLink: (traceId: string | undefined) => string | null;
  /** Zoom and folded phases as text, as in the URL; without them the chart keeps its own state. */
  zoom?: string;
  onZoom?: (zoom: string) => void;
  folds?: string;
  onFolds?: (folds: string) => void;
  onClose?: (() => void) | undefined;
}

/** Phases and jobs of one research task over time; the bars of open ones grow. */
export const Waterfall = memo(function Waterfall(props: WaterfallProps) {
  const { taskId, spans } = useSlice(props.store, "spans");
  const { card } = props;
  if (card === null || taskId !== card.taskId) {
    return (
      <section className="panel waterfall" aria-label="Waterfall">
        <header className="panel-head">
          <h2>Waterfall</h2>
        </header>
        <p className="none">Choose a task to see its phases and jobs over time.</p>
      </section>
    );
  }
  return <Chart key={card.taskId} {...props} card={card} spans={spans} />;
});

/** The parts of a card that the rows depend on, as one text. */
function rowInputs(card: CardView): string {
  const phases = card.phases.map((p) => `${p.name} ${p.status} ${p.startedAt} ${p.endedAt}`);
  return [card.taskId, card.endedAt, ...phases].join("\n");
}

interface ChartProps extends WaterfallProps {
  card: CardView;
  spans: readonly SpanView[];
}

function Chart(props: ChartProps) {
  const { store, card, spans, wish: filter, mark, traceLink, onClose } = props;
  const [folds, setFolds] = useControllable<FoldedPhases>(
    props.folds,
    props.onFolds,
    readFoldedPhases,
    writeFoldedPhases,
  );
  const [zoom, setZoom] = useControllable<ZoomRange>(props.zoom, props.onZoom, readZoom, writeZoom);
  const [cache] = useState(() => new RowCache());
  const isWide = useMedia("(min-width: 1280px)");
  const now = useNow(store);
  const isOpen = card.endedAt === null;
  const t0 = card.startedAt ?? spans[0]?.startedAt ?? now;
  // A card changes four times a second, but mostly in its counts, which the rows do not depend on.
  const inputs = rowInputs(card);
  // biome-ignore lint/correctness/useExhaustiveDependencies: `inputs` stands for the parts of `card` that are read.
  const rows = useMemo(
    () => chartRows(spans, card, folds, filter, cache),
    [spans, inputs, folds, filter, cache],
  );

  const root = useRef<HTMLDivElement>(null);
  const lastEnd = useMemo(() => rows.reduce((max, row) => Math.max(max, row.end ?? 0), 0), [rows]);
  const last = Math.max(lastEnd, card.endedAt ?? 0);
  const endSec = axisEnd(isOpen ? Math.max(now, last) : last, t0);
  useTimeAxis(root, store, t0, isOpen, endSec, zoom);
  const from = zoom?.from ?? 0;
  const to = zoom?.to ?? endSec;
  // The axis grows continuously but ticks are added once a second, so add those of the next second
  // too.
  const ticksTo = isOpen && !zoom ? to + 1 : to;

  const scroller = useRef<HTMLDivElement>(null);
  const { first, end, slotOf, topmost, totalPx, scrollTo } = useFixedRows(
    scroller,
    rows.length,
    ROW_PX,
    isOpen ? lastStartedIndex(rows) : null,
  );

  const latestFolds = useRef(folds);
  latestFolds.current = folds;
  const fold = useCallback(
    (phase: string, isFolded: boolean) =>
      setFolds(withPhaseFolded(latestFolds.current, phase, isFolded)),
    [setFolds],
  );
  useChartKeys((isFolded) => setFolds(new Map([[null, isFolded]])), zoom, setZoom, endSec);

  // When a job is to be shown: unfold its phase, then scroll to the job.
  useEffect(() => {
    if (!mark || mark.taskId !== card.taskId || mark.jobId === null) return;
    const span = store.get("spans").spans.find((each) => each.taskId === mark.jobId);
    if (span) fold(span.phase ?? "", false);
  }, [mark, card.taskId, store, fold]);
  const markIndex = useMemo(
    () => (mark ? rows.findIndex((row) => row.kind === "job" && row.taskId === mark.jobId) : -1),
    [rows, mark],
  );
  const shownMark = useRef(0);
  useEffect(() => {
    if (!mark || markIndex < 0 || shownMark.current === mark.n) return;
    shownMark.current = mark.n;
    scrollTo(markIndex, "center");
  }, [mark, markIndex, scrollTo]);

  // The phase of the topmost visible job stays visible while its jobs are scrolled.
  let pinned: ChartRow | undefined = topmost === null ? undefined : rows[topmost];
  for (let index = topmost ?? 0; pinned && pinned.kind !== "phase"; index--) pinned = rows[index];

  const link = traceLink(card.traceId ?? undefined);
  const marks = ticks(from, ticksTo, MAX_TICKS);
  return (
    <section className="panel waterfall" aria-label="Waterfall">
      <header className="panel-head">
        <h2>Waterfall</h2>
        <span className="wf-title" title={card.taskId}>
          <StatusIcon status={card.status} label />
          <span className="wf-title-text" dir="auto">
            {taskName(card)}
          </span>
        </span>
        <span className="panel-end">
          {isWide && <Legend />}
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
            {marks.map((sec) => (
              <span key={sec} className="wf-tick num" {...timeAttributes(sec, sec)}>
                {tickText(sec)}
              </span>
            ))}
          </span>
          <span className="wf-took" />
        </div>
        <div
          className="wf-body"
          ref={scroller}
          tabIndex={0}
          role="list"
          aria-label="Phases and jobs"
        >
          <div className="wf-grid" aria-hidden="true">
            <span className="wf-track">
              {marks.map((sec) => (
                <span key={sec} className="wf-line" {...timeAttributes(sec, sec)} />
              ))}
            </span>
          </div>
          {pinned && (
            <div className="wf-pinned">
              <WaterfallRow
                row={pinned}
                t0={t0}
                top={0}
                now={pinned.end === null ? now : 0}
                isMarked={false}
                onFold={fold}
              />
            </div>
          )}
          <div className="wf-space" style={{ height: totalPx }}>
            {rows.slice(first, end).map((row, offset) => (
              <WaterfallRow
                key={slotOf(first + offset)}
                row={row}
                t0={t0}
                top={(first + offset) * ROW_PX}
                now={row.end === null ? now : 0}
                isMarked={first + offset === markIndex}
                onFold={fold}
              />
            ))}
          </div>
          {rows.length === 0 && <p className="none">No spans yet.</p>}
        </div>
      </div>
      {!isWide && <Legend />}
    </section>
  );
}

/**
 * State that is kept as text by the parent component if it passes `given` and `onChoose`, else
 * here.
 */
function useControllable<T>(
  given: string | undefined,
  onChoose: ((text: string) => void) | undefined,
  read: (text: string) => T,
  write: (value: T) => string,
): [T, (value: T) => void] {
  const [own, setOwn] = useState("");
  const text = given ?? own;
  const value = useMemo(() => read(text), [read, text]);
  const choose = useCallback((next: T) => (onChoose ?? setOwn)(write(next)), [onChoose, write]);
  return [value, choose];
}
