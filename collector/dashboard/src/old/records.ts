/**
 * What the page remembers of work: a record per job, span, phase, research task, worker, failure.
 *
 * The same rules as the collector's `records.py` and `fleet.py`: facts merge so that their order and
 * repetition do not matter. Times are milliseconds since the Unix epoch, microseconds as fraction.
 */
import type { SpanView } from "./span-views";
import type { MonitoringEvent, Status } from "../feed/wire";

/**
 * Which of two facts about one attempt wins, the greater: attempt, stage (0 queued, 1 running or
 * given up, 2 completed), time, order (an end beats a start of the same microsecond), event id.
 */
export type Rank = readonly [number, number, number, number, string];

export const NO_RANK: Rank = [-1, 0, 0, 0, ""];

/** Whether `a` is greater than `b`, both of the same shape, compared item by item. */
export function outranks(
  a: readonly (number | string | boolean)[],
  b: readonly (number | string | boolean)[],
): boolean {
  for (let i = 0; i < a.length; i++) {
    const x = a[i] as number;
    const y = b[i] as number;
    if (x !== y) return x > y;
  }
  return false;
}

export const ENDED: ReadonlySet<string> = new Set(["completed", "failed"]);

/** Event type to stage, order and status: see `Rank`. A map, because a type may be any text. */
export const JOB_FACTS: ReadonlyMap<string, readonly [number, number, Status]> = new Map([
  ["task_enqueued", [0, 0, "pending"]],
  ["task_started", [1, 0, "processing"]],
  ["task_stalled", [1, 1, "stalled"]],
  ["task_retry", [1, 2, "retrying"]],
  ["task_failed", [1, 3, "failed"]],
  ["task_completed", [2, 0, "completed"]],
]);

/** The event types that change the state; any other type may be of a newer release. */
export const FOLDED: ReadonlySet<string> = new Set([
  ...JOB_FACTS.keys(),
  "phase_started",
  "phase_completed",
  "stats_snapshot",
  "queue_depth_update",
  "worker_started",
  "worker_heartbeat",
  "worker_stopped",
]);

export const ABSOLUTE_COUNTS: ReadonlySet<string> = new Set([
  "total",
  "completed",
  "failed",
  "pending",
  "retrying",
]);

export interface JobRecord {
  parentTaskId: string | null;
  taskId: string;
  taskType: string | null;
  phase: string | null;
  projectId: string | null;
  status: Status;
  rank: Rank;
  workerId: string | null;
  started: number | null;
}

export interface SpanRecord {
  spanId: string;
  kind: "research_task" | "phase" | "enqueue" | "job";
  parentSpanId: string | null;
  traceId: string | null;
  taskId: string | null;
  taskType: string | null;
  phase: string | null;
  workerId: string | null;
  retryCount: number;
  queued: number | null;
  started: number | null;
  /** Told by the job itself?, when, event id. */
  end: readonly [boolean, number, string] | null;
  status: Status;
  durationMs: number | null;
  error: string | null;
  /** As it was last shown; null once a fact has come since. */
  view: SpanView | null;
}

export interface PhaseRecord {
  name: string;
  rank: readonly [number, number, string];
  /** Null: no event of the phase's own has been seen, only its jobs'. */
  status: Status | null;
  started: number | null;
  ended: number | null;
  durationMs: number | null;
  firstSeen: number | null;
  lastEnd: number;
  message: Note | null;
  /** Absolute counts as told: time, event id, value. */
  counts: Map<string, readonly [number, string, number]>;
  /** Jobs by status. */
  seen: Record<Status, number>;
  /** Open jobs a snapshot counts without naming them; taken from when one is heard of. */
  unnamed: number;
  hasForgotten: boolean;
  /** Whether it began with a snapshot's counts instead of the jobs themselves. */
  isLoaded: boolean;
  endsBySecond: Map<number, number>;
  samples: Map<number, number>;
  /** The collector's rate from a snapshot, until there is one of our own. */
  givenRate: number | null;
  givenRateAt: number;
}

/** Time, event id, text. */
export type Note = readonly [number, string, string];

export interface TaskRecord {
  taskId: string;
  title: string | null;
  taskType: string | null;
  domain: string | null;
  projectId: string | null;
  traceId: string | null;
  isRooted: boolean;
  /** Type of the job whose span is the trace's root: then no root will come. */
  origin: string | null;
  rank: Rank;
  rootStatus: Status;
  started: number | null;
  ended: number | null;
  durationMs: number | null;
  error: string | null;
  message: Note | null;
  firstSeen: number | null;
  lastSeen: number;
  retries: number;
  phases: Map<string, PhaseRecord>;
  unphased: PhaseRecord;
  /** Jobs that are processing. */
  running: Set<string>;
  queuedJobs: number;
  spans: Map<string, SpanRecord>;
  /** Grows with every change of a span; tells a view that it is out of date. */
  spansVersion: number;
}

export interface WorkerRecord {
  workerId: string;
  started: number | null;
  lastSeen: number;
  lastBeat: number;
  /** Whether it has ever sent an event of its own; one that never has cannot be missed. */
  isBeating: boolean;
  stopped: number;
  note: readonly [number, string];
  host: string | null;
  pid: number | null;
  dropped: number;
  completed: number;
  failed: number;
  running: Set<string>;
}

export interface FailureRecord {
  key: string;
  error: Note;
  taskType: string | null;
  phase: string | null;
  projectId: string | null;
  count: number;
  first: number | null;
  last: number;
  /** Newest ten, ascending. */
  newest: (readonly [number, string])[];
  parents: (readonly [number, string])[];
}

export function newPhase(name: string): PhaseRecord {
  return {
    name,
    rank: [0, 0, ""],
    status: null,
    started: null,
    ended: null,
    durationMs: null,
    firstSeen: null,
    lastEnd: 0,
    message: null,
    counts: new Map(),
    seen: { pending: 0, processing: 0, completed: 0, failed: 0, retrying: 0, stalled: 0 },
    unnamed: 0,
    hasForgotten: false,
    isLoaded: false,
    endsBySecond: new Map(),
    samples: new Map(),
    givenRate: null,
    givenRateAt: 0,
  };
}

export function newTask(taskId: string): TaskRecord {
  return {
    taskId,
    title: null,
    taskType: null,
    domain: null,
    projectId: null,
    traceId: null,
    isRooted: false,
    origin: null,
    rank: NO_RANK,
    rootStatus: "processing",
    started: null,
    ended: null,
    durationMs: null,
    error: null,
    message: null,
    firstSeen: null,
    lastSeen: 0,
    retries: 0,
    phases: new Map(),
    unphased: newPhase(""),
    running: new Set(),
    queuedJobs: 0,
    spans: new Map(),
    spansVersion: 0,
  };
}

export function newJob(parentTaskId: string | null, taskId: string): JobRecord {
  return {
    parentTaskId,
    taskId,
    taskType: null,
    phase: null,
    projectId: null,
    status: "pending",
    rank: NO_RANK,
    workerId: null,
    started: null,
  };
}

export function newSpan(spanId: string, kind: SpanRecord["kind"]): SpanRecord {
  return {
    spanId,
    kind,
    parentSpanId: null,
    traceId: null,
    taskId: null,
    taskType: null,
    phase: null,
    workerId: null,
    retryCount: 0,
    queued: null,
    started: null,
    end: null,
    status: "processing",
    durationMs: null,
    error: null,
    view: null,
  };
}

export function newWorker(workerId: string): WorkerRecord {
  return {
    workerId,
    started: null,
    lastSeen: 0,
    lastBeat: 0,
    isBeating: false,
    stopped: 0,
    note: [0, ""],
    host: null,
    pid: null,
    dropped: 0,
    completed: 0,
    failed: 0,
    running: new Set(),
  };
}

export function newFailure(key: string): FailureRecord {
  return {
    key,
    error: [-1, "", ""],
    taskType: null,
    phase: null,
    projectId: null,
    count: 0,
    first: null,
    last: 0,
    newest: [],
    parents: [],
  };
}

/** Attempts before this one; absurd numbers are cut to a million. */
export function attemptOf(event: MonitoringEvent): number {
  return Math.min(event.retry_count ?? 0, 1_000_000);
}

/** One of two values whatever the order they came in: the known, else the smaller one. */
export function settle(old: string | null, next: string | null | undefined): string | null {
  if (next === null || next === undefined || old === next) return old;
  if (old === null) return next;
  return next < old ? next : old;
}

export function earliest(old: number | null, next: number | null): number | null {
  if (old === null) return next;
  return next === null ? old : Math.min(old, next);
}

export function cut(text: string | null | undefined, maxChars: number): string | null {
  if (text === null || text === undefined) return null;
  return text.length <= maxChars ? text : `${text.slice(0, maxChars - 1)}…`;
}

export function later(old: Note | null, ts: number, event: MonitoringEvent): Note {
  const note: Note = [ts, event.event_id, cut(event.message, 300) ?? ""];
  return old === null || outranks(note, old) ? note : old;
}

const VARIABLE = /'[^']*'|"[^"]*"|0x[0-9a-fA-F]+|\b[0-9a-fA-F]{8,}\b|\d+/g;

/** What failures of one cause have in common: the text without quotes, ids and numbers. */
export function errorKey(error: string): string {
  return error.replace(VARIABLE, "*").slice(0, 160);
}

/** The newest ten names by time, ascending. */
export function newestTen(
  old: readonly (readonly [number, string])[],
  ts: number,
  name: string,
): (readonly [number, string])[] {
  const known = old.find((item) => item[1] === name);
  const next = old.filter((item) => item[1] !== name);
  next.push([Math.max(ts, known?.[0] ?? ts), name]);
  next.sort((a, b) => a[0] - b[0] || (a[1] < b[1] ? -1 : 1));
  return next.slice(-10);
}

/** When what took so long began: in 1970 at the earliest, as the collector has it. */
export function began(ended: number, durationMs: number): number {
  return Math.max(0, ended - durationMs);
}

function closeSpan(span: SpanRecord, ts: number, status: Status, event: MonitoringEvent): void {
  if (event.duration_ms !== undefined) {
    span.started = earliest(span.started, began(ts, event.duration_ms));
  }
  // A stalled job that ends after all was not stalled, whatever the two clocks say.
  const end = [status !== "stalled", ts, event.event_id] as const;
  if (span.end === null || outranks(end, span.end)) {
    span.end = end;
    span.status = status;
    span.durationMs = event.duration_ms ?? null;
    span.error = cut(event.error, 300);
  }
}

/** Fold one event into its bar of the waterfall; publishers without spans get one made up. */
export function applySpan(
  task: TaskRecord,
  event: MonitoringEvent,
  ts: number,
  kind: SpanRecord["kind"],
): void {
  const attempt = attemptOf(event);
  const spanId = event.span_id ?? `${event.task_id ?? event.phase}#${attempt}:${kind}`;
  let span = task.spans.get(spanId);
  if (span === undefined) {
    span = newSpan(spanId, kind);
    task.spans.set(spanId, span);
  }
  span.view = null;
  if (kind > span.kind) span.kind = kind;
  span.parentSpanId = settle(span.parentSpanId, event.parent_span_id);
  span.traceId = settle(span.traceId, event.trace_id);
  span.taskId = settle(span.taskId, event.task_id);
  span.taskType = settle(span.taskType, cut(event.task_type, 100));
  span.phase = settle(span.phase, cut(event.phase, 100));
  span.retryCount = Math.max(span.retryCount, attempt);
  if (event.worker_id !== undefined) span.workerId = settle(span.workerId, String(event.worker_id));
  switch (event.event_type) {
    case "task_enqueued":
      span.queued = earliest(span.queued, ts);
      break;
    case "task_started":
    case "phase_started":
      span.started = earliest(span.started, ts);
      break;
    case "phase_completed":
      closeSpan(span, ts, event.status === "failed" ? "failed" : "completed", event);
      break;
    default:
      closeSpan(span, ts, JOB_FACTS.get(event.event_type)?.[2] ?? "completed", event);
  }
  task.spansVersion++;
}
