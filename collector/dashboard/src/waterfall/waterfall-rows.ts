/** Spans -> rows, ticks and density of the waterfall. Pure; times in milliseconds. */

import type { Status } from "../feed/wire";
import { jobName, withSpaces } from "../lib/format";
import type { EventWish as EventFilter } from "../old/event-view";
import { type SpanView, startOf } from "../old/span-views";
import type { CardView } from "../old/views";
import type { FoldedPhases } from "./folded-phases";

export interface ChartRow {
  kind: "phase" | "job";
  key: string;
  label: string;
  phase: string;
  taskId: string | null;
  workerId: string | null;
  status: Status;
  start: number;
  /** When it began to run; of what still waits: when that began. */
  runStartedAt: number;
  /** Null: still open. */
  end: number | null;
  /** Attempts in order; of a phase: its own span, if told. */
  bars: readonly SpanView[];
  error: string | null;
  isFolded: boolean;
  jobs: number;
  isDim: boolean;
}

/** With so few rows nothing is folded unless asked for. */
const FEW_ROWS = 14;

/** Rows of jobs that have not changed, kept from one call to the next; of one research task. */
export class RowCache {
  private wish: EventFilter | null = null;
  private isOver = false;
  private rows = new Map<SpanView, readonly [readonly SpanView[], ChartRow]>();
  private next: typeof this.rows = new Map();

  begin(wish: EventFilter, isOver: boolean): void {
    this.rows = wish === this.wish && isOver === this.isOver ? this.next : new Map();
    this.next = new Map();
    this.wish = wish;
    this.isOver = isOver;
  }

  /** The row of these attempts, if none of them has changed. */
  find(attempts: readonly SpanView[]): ChartRow | undefined {
    const [known, row] = this.rows.get(attempts[0] as SpanView) ?? [];
    if (row === undefined || known?.length !== attempts.length) return undefined;
    if (!attempts.every((attempt, index) => known[index] === attempt)) return undefined;
    this.keep(attempts, row);
    return row;
  }

  keep(attempts: readonly SpanView[], row: ChartRow): void {
    this.next.set(attempts[0] as SpanView, [attempts, row]);
  }
}

/**
 * Rows in order: each phase, then its jobs unless folded.
 *
 * Args: spans oldest first; `folds` what the user chose, by phase; `wish` dims what does not match.
 */
export function chartRows(
  spans: readonly SpanView[],
  card: CardView,
  folds: FoldedPhases,
  wish: EventFilter,
  cache: RowCache = new RowCache(),
): ChartRow[] {
  cache.begin(wish, card.endedAt !== null);
  const phases = new Map<string, { own: SpanView | null; jobs: Map<string, SpanView[]> }>();
  const phaseOf = (name: string) => {
    let phase = phases.get(name);
    if (phase === undefined) {
      phase = { own: null, jobs: new Map() };
      phases.set(name, phase);
    }
    return phase;
  };
  for (const view of card.phases) phaseOf(view.name);
  for (const span of spans) {
    if (span.kind === "research_task") continue;
    const phase = phaseOf(span.phase ?? "");
    if (span.kind === "phase") {
      phase.own = span;
      continue;
    }
    const id = span.taskId ?? span.spanId;
    const attempts = phase.jobs.get(id);
    if (attempts) attempts.push(span);
    else phase.jobs.set(id, [span]);
  }

  const isFew = spans.length <= FEW_ROWS;
  const rows: ChartRow[] = [];
  const names = [...phases.keys()];
  const last = names[names.length - 1];
  for (const [name, phase] of phases) {
    const view = card.phases.find((each) => each.name === name);
    const jobs: ChartRow[] = [];
    for (const [id, attempts] of phase.jobs) {
      let row = cache.find(attempts);
      if (row === undefined) {
        row = jobRow(id, attempts, name, card, wish);
        cache.keep(attempts, row);
      }
      jobs.push(row);
    }
    // In the order they began; what still waits comes last.
    jobs.sort((a, b) => began(a) - began(b) || a.start - b.start);
    const first = jobs.reduce((least, job) => Math.min(least, job.start), Date.now());
    const start = phase.own?.startedAt ?? view?.startedAt ?? first;
    const status =
      view?.status ?? (jobs.some((job) => job.end === null) ? "processing" : "completed");
    const isOpen = status === "processing" || status === "pending" || status === "retrying";
    let end: number | null = null;
    if (!isOpen) {
      const lastEnd = jobs.reduce((most, job) => Math.max(most, job.end ?? 0), start);
      end = phase.own?.endedAt ?? view?.endedAt ?? lastEnd;
    }
    const isCurrent = isOpen || (card.endedAt !== null && name === last);
    const isFolded = folds.get(name) ?? folds.get(null) ?? !(isFew || isCurrent);
    rows.push({
      kind: "phase",
      key: `phase ${name}`,
      label: name === "" ? "jobs" : withSpaces(name),
      phase: name,
      taskId: null,
      workerId: null,
      status,
      start,
      runStartedAt: start,
      end,
      bars: phase.own ? [phase.own] : [],
      error: phase.own?.error ?? null,
      isFolded,
      jobs: jobs.length,
      isDim: wish.type !== "" && name !== wish.type && !jobs.some((job) => !job.isDim),
    });
    if (!isFolded) for (const job of jobs) rows.push(job);
  }
  return rows;
}

function jobRow(
  id: string,
  attempts: readonly SpanView[],
  phase: string,
  card: CardView,
  wish: EventFilter,
): ChartRow {
  // Attempts of one message were queued at one time; only their starts tell them apart.
  const bars = begunOf(
    [...attempts].sort((a, b) => (a.startedAt ?? startOf(a)) - (b.startedAt ?? startOf(b))),
  );
  const last = bars[bars.length - 1] as SpanView;
  return {
    kind: "job",
    key: `job ${phase} ${id}`,
    label: jobLabel(jobName(id, card.taskId, last.taskType), phase),
    phase,
    taskId: last.taskId,
    workerId: last.workerId,
    status: last.status,
    start: startOf(bars[0] as SpanView),
    runStartedAt: bars[0]?.startedAt ?? startOf(bars[0] as SpanView),
    // Between two attempts a job waits; it is not over.
    end: last.status === "retrying" && card.endedAt === null ? null : last.endedAt,
    bars,
    error: last.error,
    isFolded: false,
    jobs: 0,
    isDim: !isMatch(last, phase, wish),
  };
}

/** Queueings that no parent's id ties to their job: over once an attempt begins after them, and part of it. */
function begunOf(bars: SpanView[]): SpanView[] {
  const found: SpanView[] = [];
  let queuedAt: number | null = null;
  for (const bar of bars) {
    const waited: SpanView | undefined = found.at(-1);
    if (waited?.kind === "enqueue" && bar.startedAt !== null) {
      found.pop();
      queuedAt = waited.queuedAt;
    }
    found.push(bar.queuedAt === null && queuedAt !== null ? { ...bar, queuedAt } : bar);
    queuedAt = null;
  }
  return found;
}

function began(row: ChartRow): number {
  return row.bars[0]?.startedAt ?? Number.MAX_SAFE_INTEGER;
}

/** The last row of which something has begun: where a running task's news is. */
export function lastStartedIndex(rows: readonly ChartRow[]): number {
  for (let index = rows.length - 1; index >= 0; index--) {
    const row = rows[index] as ChartRow;
    if (row.kind === "phase" || row.bars[0]?.startedAt !== null) return index;
  }
  return -1;
}

/** A job's id often begins with its phase, which its row is under already. */
function jobLabel(id: string, phase: string): string {
  const rest =
    phase && id.startsWith(phase) ? id.slice(phase.length).replace(/^[:_\-/.]+/, "") : id;
  return rest || id;
}

function isMatch(span: SpanView, phase: string, wish: EventFilter): boolean {
  if (wish.type && span.taskType !== wish.type && phase !== wish.type) return false;
  if (wish.status && span.status !== wish.status) return false;
  if (!wish.text) return true;
  const needle = wish.text.toLowerCase();
  return [span.taskId, span.taskType, phase, span.workerId, span.error].some(
    (text) => text?.toLowerCase().includes(needle) === true,
  );
}

const NICE_SEC = [
  0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900,
  1800, 3600, 7200, 14_400, 43_200, 86_400,
];

/** The first round number of seconds that is at least `sec`. */
export function niceStep(sec: number): number {
  return NICE_SEC.find((step) => step >= sec) ?? Math.ceil(sec / 86_400) * 86_400;
}

/** Round times within a window, seconds from the start; at most `most`. */
export function ticks(fromSec: number, toSec: number, most: number): number[] {
  const step = niceStep((toSec - fromSec) / most);
  const found: number[] = [];
  for (let at = Math.ceil(fromSec / step) * step; at <= toSec; at += step) {
    found.push(Math.round(at * 1000) / 1000);
  }
  return found;
}

/** `0`, `500ms`, `10s`, `1:30`, `1:02:00`: a time from the start. */
export function tickText(sec: number): string {
  if (sec === 0) return "0";
  if (sec < 1) return `${Math.round(sec * 1000)}ms`;
  if (sec < 60) return `${Math.round(sec * 10) / 10}s`;
  const two = (n: number) => String(Math.floor(n)).padStart(2, "0");
  if (sec < 3600) return `${Math.floor(sec / 60)}:${two(sec % 60)}`;
  return `${Math.floor(sec / 3600)}:${two((sec % 3600) / 60)}:${two(sec % 60)}`;
}

export interface Density {
  bucketSec: number;
  /** Jobs ended and of them failed, by bucket from the start. */
  buckets: readonly (readonly [number, number])[];
  top: number;
}

/** Ends per stretch of time; the stretches are round, so that bars stay while the axis grows. */
export function density(spans: readonly SpanView[], t0: number, spanSec: number): Density {
  const bucketSec = niceStep(spanSec / 120);
  const buckets: [number, number][] = [];
  let top = 1;
  for (const span of spans) {
    if (span.kind !== "job" || span.endedAt === null) continue;
    const index = Math.floor((span.endedAt - t0) / 1000 / bucketSec);
    if (index < 0 || index > 100_000) continue;
    while (buckets.length <= index) buckets.push([0, 0]);
    const bucket = buckets[index] as [number, number];
    bucket[0]++;
    if (span.status === "failed") bucket[1]++;
    top = Math.max(top, bucket[0]);
  }
  return { bucketSec, buckets, top };
}
