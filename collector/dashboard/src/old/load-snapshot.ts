/**
 * A snapshot -> records. A snapshot holds judged cards, not records, so they are turned back: jobs it
 * only counts stay `unnamed` until an event names them.
 */
import { type FoldState, jobKey } from "./fold-state";
import {
  ENDED,
  newJob,
  newPhase,
  newSpan,
  newTask,
  newWorker,
  NO_RANK,
  outranks,
  type PhaseRecord,
  type Rank,
  type TaskRecord,
} from "./records";
import { optionalTime, parseTime } from "../lib/timestamps";
import type { FailureGroup, PhaseProgress, SnapshotMessage, SpanBar, TaskCard, WorkerState } from "../feed/wire";

/** Fill an empty state. */
export function loadSnapshot(fold: FoldState, snapshot: SnapshotMessage): void {
  const at = parseTime(snapshot.server_time);
  for (const event of snapshot.events) fold.remember(event.event_id);
  for (const worker of snapshot.workers) loadWorker(fold, worker);
  for (const card of snapshot.tasks) loadCard(fold, card, at);
  for (const queue of snapshot.queues) {
    fold.queues.set(queue.queue, [parseTime(queue.at), "", queue.depth]);
  }
  for (const group of snapshot.failures) loadFailure(fold, group);
}

function loadCard(fold: FoldState, card: TaskCard, at: number): void {
  const task = newTask(card.task_id);
  fold.tasks.set(card.task_id, task);
  fold.changed.add(card.task_id);
  task.title = card.title;
  task.taskType = card.task_type;
  task.domain = card.domain;
  task.projectId = card.project_id;
  task.traceId = card.trace_id;
  task.error = card.error;
  task.retries = card.retries;
  task.started = optionalTime(card.started_at);
  task.firstSeen = task.started;
  task.lastSeen = optionalTime(card.last_event_at) ?? at;
  task.message = card.message === null ? null : [0, "", card.message];
  // A card whose root has ended runs on while its jobs do; the root's own bar tells, of several, one
  // an attempt, the greatest.
  const roots = card.spans.filter((bar) => bar.kind === "research_task");
  const root = roots.reduce<SpanBar | undefined>(
    (best, bar) => (best === undefined || outranks(rankOf(bar), rankOf(best)) ? bar : best),
    undefined,
  );
  task.isRooted = root !== undefined || card.title !== null;
  if (!task.isRooted && card.task_id === card.trace_id) task.origin = card.task_type;
  const status = root?.status ?? card.status;
  if (task.isRooted && ENDED.has(status)) {
    task.rootStatus = status;
    task.ended = optionalTime(root?.ended_at ?? card.ended_at);
    task.durationMs = root?.duration_ms ?? card.duration_ms;
    task.rank = [0, status === "completed" ? 2 : 1, task.ended ?? 0, 3, ""];
  } else if (task.started !== null) {
    task.rank = [0, 1, task.started, 0, ""];
  }
  for (const progress of card.phases) {
    const isTold = card.spans.some((s) => s.kind === "phase" && s.phase === progress.name);
    task.phases.set(progress.name, loadPhase(progress, isTold, at));
  }
  const sum = (name: "completed" | "failed" | "pending") =>
    card[name] - card.phases.reduce((total, phase) => total + phase[name], 0);
  task.unphased.seen.completed = Math.max(0, sum("completed"));
  task.unphased.seen.failed = Math.max(0, sum("failed"));
  task.unphased.unnamed = Math.max(0, sum("pending"));
  // A job may have several bars, one an attempt; its greatest says where it stands.
  const jobs = new Map<string, readonly [Rank, SpanBar]>();
  for (const bar of card.spans) {
    loadSpan(fold, task, bar);
    if ((bar.kind !== "job" && bar.kind !== "enqueue") || bar.task_id === null) continue;
    const rank = rankOf(bar);
    const known = jobs.get(bar.task_id);
    if (known === undefined || outranks(rank, known[0])) jobs.set(bar.task_id, [rank, bar]);
  }
  for (const [rank, bar] of jobs.values()) loadJob(fold, task, bar, rank);
  task.spansVersion++;
}

function loadSpan(fold: FoldState, task: TaskRecord, bar: SpanBar): void {
  const span = newSpan(bar.span_id, bar.kind);
  fold.addSpan(task, span);
  span.parentSpanId = bar.parent_span_id;
  span.traceId = bar.trace_id;
  span.taskId = bar.task_id;
  span.taskType = bar.task_type;
  span.phase = bar.phase;
  span.workerId = bar.worker_id === null ? null : String(bar.worker_id);
  span.retryCount = bar.retry_count;
  span.queued = optionalTime(bar.queued_at);
  span.started = optionalTime(bar.started_at);
  const ended = optionalTime(bar.ended_at);
  if (ended !== null) span.end = [bar.status !== "stalled", ended, ""];
  span.status = bar.status;
  span.durationMs = bar.duration_ms;
  span.error = bar.error;
}

function loadJob(fold: FoldState, task: TaskRecord, bar: SpanBar, rank: Rank): void {
  const phase = (bar.phase !== null && task.phases.get(bar.phase)) || task.unphased;
  const job = newJob(task.taskId, bar.task_id as string);
  job.taskType = bar.task_type;
  job.phase = bar.phase;
  job.projectId = task.projectId;
  job.rank = rank;
  job.status = bar.kind === "enqueue" && bar.retry_count > 0 ? "retrying" : bar.status;
  job.workerId = bar.worker_id === null ? null : String(bar.worker_id);
  job.started = optionalTime(bar.started_at);
  const key = jobKey(task.taskId, job.taskId);
  if (ENDED.has(job.status)) {
    // Its end is in the phase's counts already.
    fold.jobs.set(key, job);
    fold.noteEnded(key);
  } else if (phase.unnamed > 0) {
    phase.unnamed--;
    fold.jobs.set(key, job);
    fold.count(task, key, job, rank[2]);
  }
  // Else the counts say that it has ended since; a bar beyond the snapshot's limit told so.
}

function loadWorker(fold: FoldState, state: WorkerState): void {
  const worker = newWorker(String(state.worker_id));
  fold.workers.set(worker.workerId, worker);
  worker.started = optionalTime(state.started_at);
  worker.lastSeen = optionalTime(state.last_heartbeat_at) ?? 0;
  worker.lastBeat = worker.lastSeen;
  worker.isBeating = state.host !== null || state.pid !== null || worker.started !== null;
  if (state.status === "stopped") worker.stopped = worker.lastSeen || 1;
  worker.host = state.host;
  worker.pid = state.pid;
  worker.dropped = state.dropped_events;
  worker.completed = state.completed;
  worker.failed = state.failed;
  if (state.current_task_id !== null) {
    const key = jobKey(state.current_parent_task_id ?? undefined, state.current_task_id);
    if (!fold.jobs.has(key)) {
      const job = newJob(state.current_parent_task_id, state.current_task_id);
      job.taskType = state.current_task_type;
      job.started = optionalTime(state.current_started_at);
      job.workerId = worker.workerId;
      job.status = "processing";
      // Below every fact, so that a card's own bar or the next event takes over.
      job.rank = NO_RANK;
      fold.jobs.set(key, job);
    }
    worker.running.add(key);
  }
}

function loadFailure(fold: FoldState, group: FailureGroup): void {
  const last = parseTime(group.last_at);
  const rank = (name: string, index: number) => [last - index / 1000, name] as const;
  fold.failures.set(group.key, {
    key: group.key,
    error: [last, "", group.error],
    taskType: group.task_type,
    phase: group.phase,
    projectId: group.project_id,
    count: group.count,
    first: parseTime(group.first_at),
    last,
    newest: group.task_ids.map(rank).reverse(),
    parents: group.parent_task_ids.map(rank).reverse(),
  });
}

function rankOf(bar: SpanBar): Rank {
  const stage = bar.kind === "enqueue" ? 0 : bar.status === "completed" ? 2 : 1;
  const orders: Partial<Record<SpanBar["status"], number>> = { stalled: 1, retrying: 2, failed: 3 };
  const at = optionalTime(bar.ended_at ?? bar.started_at ?? bar.queued_at) ?? 0;
  return [bar.retry_count, stage, at, orders[bar.status] ?? 0, ""];
}

function loadPhase(progress: PhaseProgress, isTold: boolean, at: number): PhaseRecord {
  const phase = newPhase(progress.name);
  phase.isLoaded = true;
  phase.started = optionalTime(progress.started_at);
  phase.firstSeen = phase.started;
  phase.ended = optionalTime(progress.ended_at);
  phase.durationMs = progress.duration_ms;
  if (isTold || progress.duration_ms !== null) {
    phase.status = progress.status;
    phase.rank = [phase.ended ?? phase.started ?? 0, Number(phase.ended !== null), ""];
  }
  phase.lastEnd = phase.ended ?? 0;
  phase.message = progress.message === null ? null : [0, "", progress.message];
  phase.seen.completed = progress.completed;
  phase.seen.failed = progress.failed;
  // Retrying jobs are among the pending ones; loading their bars names them.
  phase.unnamed = progress.pending;
  if (progress.total !== null) phase.counts.set("total", [0, "", progress.total]);
  phase.givenRate = progress.rate_per_sec;
  phase.givenRateAt = at;
  return phase;
}
