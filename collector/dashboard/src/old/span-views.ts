/** Spans of one research task -> bars of the waterfall, judged at one moment. */
import type { Judge } from "./judge";
import type { SpanRecord, TaskRecord } from "./records";
import type { Status } from "../feed/wire";

export interface SpanView {
  spanId: string;
  parentSpanId: string | null;
  traceId: string | null;
  kind: SpanRecord["kind"];
  taskId: string | null;
  taskType: string | null;
  phase: string | null;
  workerId: string | null;
  status: Status;
  retryCount: number;
  queuedAt: number | null;
  startedAt: number | null;
  endedAt: number | null;
  durationMs: number | null;
  error: string | null;
}

/** The bars of one research task, oldest first; an enqueueing that became a job is part of it. */
export function spanViews(task: TaskRecord, judge: Judge): SpanView[] {
  const status = judge.taskStatus(task);
  const isOver = status === "completed" || status === "failed" || status === "stalled";
  const cardEnded = isOver ? (task.ended ?? task.lastSeen) : null;
  const begun = new Set<string>();
  const queued = new Map<string, number>();
  for (const span of task.spans.values()) {
    if (span.kind === "job" && span.parentSpanId !== null) begun.add(span.parentSpanId);
    if (span.kind === "enqueue" && span.queued !== null) queued.set(span.spanId, span.queued);
  }
  const views: SpanView[] = [];
  for (const span of task.spans.values()) {
    if (span.kind === "enqueue" && (begun.has(span.spanId) || cardEnded !== null)) continue;
    const parentQueued =
      span.kind === "job" && span.parentSpanId !== null ? queued.get(span.parentSpanId) : undefined;
    const queuedAt = span.queued ?? parentQueued ?? null;
    // Of what has ended only the span's own facts tell; the same object again costs its rows nothing.
    if (span.view === null || span.end === null || span.view.queuedAt !== queuedAt) {
      span.view = spanView(span, judge, cardEnded, task.lastSeen, queuedAt);
    }
    views.push(span.view);
  }
  views.sort((a, b) => startOf(a) - startOf(b) || (a.spanId < b.spanId ? -1 : 1));
  return views;
}

export function startOf(span: SpanView): number {
  return span.queuedAt ?? span.startedAt ?? span.endedAt ?? 0;
}

function spanView(
  span: SpanRecord,
  judge: Judge,
  cardEnded: number | null,
  lastSeen: number,
  queuedAt: number | null,
): SpanView {
  let { status } = span;
  let ended = span.end?.[1] ?? null;
  if (span.kind === "enqueue" && ended === null) status = "pending";
  if (ended === null && span.kind === "job" && judge.isWorkerGone(span.workerId)) {
    status = "stalled";
    const heard = judge.fold.workers.get(span.workerId ?? "")?.lastBeat ?? lastSeen;
    ended = Math.max(heard, span.started ?? heard);
  } else if (ended === null && cardEnded !== null) {
    status = "stalled";
    ended = Math.max(cardEnded, lastSeen);
  }
  return {
    spanId: span.spanId,
    parentSpanId: span.parentSpanId,
    traceId: span.traceId,
    kind: span.kind,
    taskId: span.taskId,
    taskType: span.taskType,
    phase: span.phase,
    workerId: span.workerId,
    status,
    retryCount: span.retryCount,
    queuedAt,
    startedAt: span.started,
    endedAt: ended,
    durationMs: span.durationMs,
    error: span.error,
  };
}
