/** What the waterfall draws of spans: rows, ticks and density. Pure; times in milliseconds. */

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
  /** When it was queued, or started if its enqueue is not known. */
  start: number;
  /** When it started to run; the same as `start` while it waits. */
  runStartedAt: number;
  /** Null while it is open. */
  end: number | null;
  /** The attempts in order; for a phase its own span, if it is known. */
  bars: readonly SpanView[];
  error: string | null;
  isFolded: boolean;
  /** Jobs of a phase; 0 for a job. */
  jobs: number;
  /** Whether the filter does not match. */
  isDim: boolean;
}

/** Up to this many spans no phase is folded unless the user folds it. */
const FEW_SPANS = 14;

/**
 * The rows of unchanged jobs of one research task, kept from one call of `chartRows` to the next.
 */
export class RowCache {
  private filter: EventFilter | null = null;
  private isEnded = false;
  private rows = new Map<SpanView, readonly [readonly SpanView[], ChartRow]>();
  private next: typeof this.rows = new Map();

  /** Start a call; another filter, or the end of the task, empties the cache. */
  begin(filter: EventFilter, isEnded: boolean): void {
    this.rows = filter === this.filter && isEnded === this.isEnded ? this.next : new Map();
    this.next = new Map();
    this.filter = filter;
    this.isEnded = isEnded;
  }

  /** The row of these attempts, if they are the same objects as before. */
  find(attempts: readonly SpanView[]): ChartRow | undefined {
    const [known, row] = this.rows.get(attempts[0] as SpanView) ?? [];
    if (row === undefined || known?.length !== attempts.length) return undefined;
    if (!attempts.every((attempt, index) => known[index] === attempt)) return undefined;
    this.keep(attempts, row);
    return row;
  }

  /** Keep a row for the next call. */
  keep(attempts: readonly SpanView[], row: ChartRow): void {
    this.next.set(attempts[0] as SpanView, [attempts, row]);
  }
}

/**
 * The rows in order: each phase, followed by its jobs unless it is folded.
 *
 * Args: `spans` oldest first; `folds` the user's choices by phase; `filter` dims rows that it does
 * not match, and removes none.
 */
export function chartRows(
  spans: readonly SpanView[],
  card: CardView,
  folds: FoldedPhases,
  filter: EventFilter,
  cache: RowCache = new RowCache(),
): ChartRow[] {
  cache.begin(filter, card.endedAt !== null);
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

  const isFew = spans.length <= FEW_SPANS;
  const rows: ChartRow[] = [];
  const names = [...phases.keys()];
  const last = names[names.length - 1];
  for (const [name, phase] of phases) {
    const view = card.phases.find((each) => each.name === name);
    const jobs: ChartRow[] = [];
    for (const [id, attempts] of phase.jobs) {
      let row = cache.find(attempts);
      if (row === undefined) {
        row = jobRow(id, attempts, name, card, filter);
        cache.keep(attempts, row);
      }
      jobs.push(row);
    }
    // In the order in which they started; waiting jobs come last.
    jobs.sort((a, b) => startedAtOrLast(a) - startedAtOrLast(b) || a.start - b.start);
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
      isDim: filter.type !== "" && name !== filter.type && !jobs.some((job) => !job.isDim),
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
  filter: EventFilter,
): ChartRow {
  // Attempts of one message were queued at the same time; only their starts differ.
  const bars = mergeEnqueues(
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
    // A job that waits between two attempts has not ended.
    end: last.status === "retrying" && card.endedAt === null ? null : last.endedAt,
    bars,
    error: last.error,
    isFolded: false,
    jobs: 0,
    isDim: !isMatch(last, phase, filter),
  };
}

/**
 * Merge enqueue spans into the attempts that follow them.
 *
 * For enqueue spans that are not linked to their job by a parent id: the wait ends when the next
 * attempt starts, and belongs to it.
 */
function mergeEnqueues(bars: SpanView[]): SpanView[] {
  const merged: SpanView[] = [];
  let queuedAt: number | null = null;
  for (const bar of bars) {
    const waiting: SpanView | undefined = merged.at(-1);
    if (waiting?.kind === "enqueue" && bar.startedAt !== null) {
      merged.pop();
      queuedAt = waiting.queuedAt;
    }
    merged.push(bar.queuedAt === null && queuedAt !== null ? { ...bar, queuedAt } : bar);
    queuedAt = null;
  }
  return merged;
}

function startedAtOrLast(row: ChartRow): number {
  return row.bars[0]?.startedAt ?? Number.MAX_SAFE_INTEGER;
}

/** Index of the last phase or started job, where a running task changes; -1 without rows. */
export function lastStartedIndex(rows: readonly ChartRow[]): number {
  for (let index = rows.length - 1; index >= 0; index--) {
    const row = rows[index] as ChartRow;
    if (row.kind === "phase" || row.bars[0]?.startedAt !== null) return index;
  }
  return -1;
}

/** A job's name without its phase: the row is below its phase already. */
function jobLabel(id: string, phase: string): string {
  const rest =
    phase && id.startsWith(phase) ? id.slice(phase.length).replace(/^[:_\-/.]+/, "") : id;
  return rest || id;
}

function isMatch(span: SpanView, phase: string, filter: EventFilter): boolean {
  if (filter.type && span.taskType !== filter.type && phase !== filter.type) return false;
  if (filter.status && span.status !== filter.status) return false;
  if (!filter.text) return true;
  const needle = filter.text.toLowerCase();
  return [span.taskId, span.taskType, phase, span.workerId, span.error].some(
    (text) => text?.toLowerCase().includes(needle) === true,
  );
}

const NICE_SEC = [
  0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900,
  1800, 3600, 7200, 14_400, 43_200, 86_400,
];

/** The smallest round number of seconds that is at least `sec`. */
export function niceStep(sec: number): number {
  return NICE_SEC.find((step) => step >= sec) ?? Math.ceil(sec / 86_400) * 86_400;
}

/** Round times in a range, seconds from the start of the task; at most `maxCount` of them. */
export function ticks(fromSec: number, toSec: number, maxCount: number): number[] {
  const step = niceStep((toSec - fromSec) / maxCount);
  const times: number[] = [];
  for (let at = Math.ceil(fromSec / step) * step; at <= toSec; at += step) {
    times.push(Math.round(at * 1000) / 1000);
  }
  return times;
}

/** `0`, `500ms`, `10s`, `1:30`, `1:02:00`: a time since the start of the task. */
export function tickText(sec: number): string {
  if (sec === 0) return "0";
  if (sec < 1) return `${Math.round(sec * 1000)}ms`;
  if (sec < 60) return `${Math.round(sec * 10) / 10}s`;
  const two = (n: number) => String(Math.floor(n)).padStart(2, "0");
  if (sec < 3600) return `${Math.floor(sec / 60)}:${two(sec % 60)}`;
  return `${Math.floor(sec / 3600)}:${two((sec % 3600) / 60)}:${two(sec % 60)}`;
}

/** How many attempts ended in each bucket of time. */
export interface Density {
  bucketSec: number;
  /** By bucket from the start of the task: attempts that ended, and how many of them failed. */
  buckets: readonly (readonly [number, number])[];
  /** The highest bucket, at least 1. */
  top: number;
}

/**
 * Ended attempts by time. Buckets have round widths, so that bars do not move while the axis grows.
 */
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
