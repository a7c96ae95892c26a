/**
 * The fold of events into what the page shows, on top of a snapshot or of nothing.
 *
 * The same rules as the collector's `state.py`; both are tested with the same event logs. Framework
 * free and without a clock.
 */
import { FoldState, jobKey } from "./fold-state";
import { loadSnapshot } from "./load-snapshot";
import {
  ABSOLUTE_COUNTS,
  attemptOf,
  began,
  cut,
  earliest,
  ENDED,
  errorKey,
  FOLDED,
  JOB_FACTS,
  later,
  newestTen,
  newJob,
  outranks,
  type PhaseRecord,
  type Rank,
  settle,
  type TaskRecord,
} from "./records";
import { parseTime } from "../lib/timestamps";
import type { MonitoringEvent, SnapshotMessage } from "../feed/wire";

const RATE_KEEP_SEC = 120;

export class LiveFold extends FoldState {
  /** Forget everything and start from a snapshot. */
  load(snapshot: SnapshotMessage): void {
    this.clear();
    loadSnapshot(this, snapshot);
  }

  /**
   * Fold one event; `seen` is when it was seen, by the collector's clock.
   *
   * False when it has been folded before.
   */
  apply(event: MonitoringEvent, seen: number): boolean {
    if (!this.remember(event.event_id)) return false;
    const ts = parseTime(event.ts);
    if (Number.isNaN(ts)) return false;
    const kind = event.event_type;
    if (!FOLDED.has(kind)) return true;
    const task = this.task(event, ts, seen);
    if (JOB_FACTS.has(kind)) {
      if (task && event.task_id === event.parent_task_id) this.applyRoot(task, event, ts);
      else if (event.task_id !== undefined) this.applyJob(task, event, ts, seen);
    } else if (kind === "phase_started" || kind === "phase_completed") {
      if (task && event.phase !== undefined) this.applyPhase(task, event, ts);
    } else if (kind === "stats_snapshot") {
      if (task) this.applyProgress(task, event, ts);
    } else if (kind === "queue_depth_update") {
      this.applyQueues(event, ts);
    } else if (event.worker_id !== undefined) {
      this.applyWorker(event, ts, seen);
    }
    return true;
  }

  /**
   * Take bars, and nothing else, from older events of a research task: a snapshot holds only so
   * many. What the bars know already stays.
   */
  backfill(taskId: string, events: readonly MonitoringEvent[]): void {
    const task = this.tasks.get(taskId);
    if (task === undefined) return;
    for (const event of events) {
      const ts = parseTime(event.ts);
      if (event.parent_task_id !== taskId || Number.isNaN(ts)) continue;
      if (task.spans.size >= this.limits.spansPerTask) return;
      const fact = JOB_FACTS.get(event.event_type);
      if (event.event_type === "phase_started" || event.event_type === "phase_completed") {
        this.span(task, event, ts, "phase");
      } else if (fact !== undefined && event.task_id === taskId) {
        this.span(task, event, ts, "research_task");
      } else if (fact !== undefined) {
        this.span(task, event, ts, fact[0] === 0 ? "enqueue" : "job");
      }
    }
  }

  // --- research tasks and phases ------------------------------------------------------------------

  private applyRoot(task: TaskRecord, event: MonitoringEvent, ts: number): void {
    task.isRooted = true;
    task.taskType = settle(task.taskType, cut(event.task_type, 100));
    const title = event.meta?.["title"];
    const domain = event.meta?.["domain"];
    if (typeof title === "string") task.title = settle(task.title, cut(title, 300));
    if (typeof domain === "string") task.domain = settle(task.domain, cut(domain, 300));
    if (event.message !== undefined) task.message = later(task.message, ts, event);
    const fact = JOB_FACTS.get(event.event_type);
    if (fact === undefined) return;
    const [stage, order, status] = fact;
    const rank: Rank = [attemptOf(event), stage, ts, order, event.event_id];
    const isEnd = ENDED.has(status);
    if (event.event_type === "task_started") task.started = earliest(task.started, ts);
    else if (isEnd && event.duration_ms !== undefined) {
      task.started = earliest(task.started, began(ts, event.duration_ms));
    }
    if (outranks(rank, task.rank)) {
      task.rank = rank;
      task.rootStatus = status;
      task.ended = isEnd ? ts : null;
      task.durationMs = isEnd ? (event.duration_ms ?? null) : null;
      task.error = cut(event.error, 500);
    }
    if (event.event_type === "task_retry") task.retries++;
    if (status === "failed") this.applyFailure(event, ts);
    this.span(task, event, ts, "research_task");
  }

  private applyPhase(task: TaskRecord, event: MonitoringEvent, ts: number): void {
    const phase = this.phase(task, event.phase, ts);
    const isEnd = event.event_type === "phase_completed";
    if (!isEnd) phase.started = earliest(phase.started, ts);
    else if (event.duration_ms !== undefined) {
      phase.started = earliest(phase.started, began(ts, event.duration_ms));
    }
    const rank = [ts, Number(isEnd), event.event_id] as const;
    if (outranks(rank, phase.rank)) {
      phase.rank = rank;
      phase.ended = isEnd ? ts : null;
      phase.durationMs = isEnd ? (event.duration_ms ?? null) : null;
      phase.status = "processing";
      if (isEnd) phase.status = event.status === "failed" ? "failed" : "completed";
    }
    this.applyCounts(phase, event, ts);
    this.applyMessage(task, phase, event, ts);
    this.span(task, event, ts, "phase");
  }

  private applyProgress(task: TaskRecord, event: MonitoringEvent, ts: number): void {
    if (event.phase === undefined) {
      if (event.message !== undefined) task.message = later(task.message, ts, event);
      return;
    }
    const phase = this.phase(task, event.phase, ts);
    this.applyMessage(task, phase, event, ts);
    this.applyCounts(phase, event, ts);
    const ended = (event.counts?.["completed"] ?? 0) + (event.counts?.["failed"] ?? 0);
    const second = Math.floor(ts / 1000);
    phase.samples.set(second, Math.max(phase.samples.get(second) ?? 0, ended));
    prune(phase.samples);
  }

  private applyMessage(
    task: TaskRecord,
    phase: PhaseRecord,
    event: MonitoringEvent,
    ts: number,
  ): void {
    if (event.message === undefined) return;
    task.message = later(task.message, ts, event);
    phase.message = later(phase.message, ts, event);
  }

  private applyCounts(phase: PhaseRecord, event: MonitoringEvent, ts: number): void {
    for (const [name, value] of Object.entries(event.counts ?? {})) {
      if (!ABSOLUTE_COUNTS.has(name) || value < 0) continue;
      const fact = [ts, event.event_id, value] as const;
      const known = phase.counts.get(name);
      if (known === undefined || outranks(fact, known)) phase.counts.set(name, fact);
    }
  }

  // --- jobs ---------------------------------------------------------------------------------------

  private applyJob(
    task: TaskRecord | null,
    event: MonitoringEvent,
    ts: number,
    seen: number,
  ): void {
    const taskId = event.task_id as string;
    const key = jobKey(event.parent_task_id, taskId);
    const fact = JOB_FACTS.get(event.event_type);
    if (fact === undefined) return;
    let job = this.jobs.get(key);
    if (job === undefined) {
      job = newJob(event.parent_task_id ?? null, taskId);
      this.jobs.set(key, job);
      const phase = task && this.phase(task, event.phase, ts);
      if (phase && phase.unnamed > 0) phase.unnamed--;
    } else {
      this.uncount(task, key, job);
    }
    job.taskType = settle(job.taskType, cut(event.task_type, 100));
    if (task && task.taskId === event.trace_id && event.parent_span_id === undefined) {
      task.origin = settle(task.origin, cut(event.task_type, 100) ?? "job");
    }
    job.phase = settle(job.phase, cut(event.phase, 100));
    job.projectId = settle(job.projectId, event.project_id);
    const [stage, order, status] = fact;
    const rank: Rank = [attemptOf(event), stage, ts, order, event.event_id];
    if (outranks(rank, job.rank)) {
      job.rank = rank;
      job.status = status === "pending" && rank[0] > 0 ? "retrying" : status;
      job.workerId = event.worker_id === undefined ? null : String(event.worker_id);
      job.started = status === "processing" ? ts : null;
    }
    const phase = this.count(task, key, job, ts);
    if (event.event_type === "task_retry" && task) task.retries++;
    if (ENDED.has(status)) this.applyEnd(phase, event, ts);
    if (event.worker_id !== undefined && event.event_type !== "task_stalled") {
      const worker = this.worker(String(event.worker_id));
      worker.lastSeen = Math.max(worker.lastSeen, seen);
    }
    if (task) this.span(task, event, ts, stage === 0 ? "enqueue" : "job");
    if (ENDED.has(job.status)) this.noteEnded(key);
    this.shedJobs();
  }

  private applyEnd(phase: PhaseRecord | null, event: MonitoringEvent, ts: number): void {
    if (phase) {
      const second = Math.floor(ts / 1000);
      phase.endsBySecond.set(second, (phase.endsBySecond.get(second) ?? 0) + 1);
      prune(phase.endsBySecond);
      phase.lastEnd = Math.max(phase.lastEnd, ts);
    }
    const isFailure = event.event_type === "task_failed";
    if (event.worker_id !== undefined) {
      const worker = this.worker(String(event.worker_id));
      if (isFailure) worker.failed++;
      else worker.completed++;
    }
    if (isFailure) this.applyFailure(event, ts);
  }

  // --- workers, queues, failures ------------------------------------------------------------------

  private applyWorker(event: MonitoringEvent, ts: number, seen: number): void {
    const worker = this.worker(String(event.worker_id));
    worker.isBeating = true;
    if (event.event_type === "worker_stopped") {
      worker.stopped = Math.max(worker.stopped, ts);
    } else {
      worker.lastSeen = Math.max(worker.lastSeen, seen);
      worker.lastBeat = Math.max(worker.lastBeat, ts);
      if (event.event_type === "worker_started") {
        worker.started = worker.started === null ? ts : Math.max(worker.started, ts);
      }
    }
    const note = [ts, event.event_id] as const;
    if (outranks(note, worker.note)) {
      worker.note = note;
      const host = event.meta?.["host"];
      const pid = event.meta?.["pid"];
      worker.host = typeof host === "string" ? cut(host, 100) : null;
      worker.pid = typeof pid === "number" ? pid : null;
      worker.dropped = event.counts?.["dropped"] ?? 0;
    }
  }

  private applyQueues(event: MonitoringEvent, ts: number): void {
    for (const [name, depth] of Object.entries(event.counts ?? {})) {
      const known = this.queues.get(name);
      if (known === undefined && this.queues.size >= this.limits.queues) continue;
      const fact = [ts, event.event_id, depth] as const;
      if (known === undefined || outranks(fact, known)) this.queues.set(name, fact);
    }
  }

  private applyFailure(event: MonitoringEvent, ts: number): void {
    const error = cut(event.error ?? event.message ?? "failed without a reason", 500) ?? "";
    const own = errorKey(error);
    const key = event.project_id === undefined ? own : `${event.project_id}: ${own}`;
    const group = this.failure(key);
    group.count++;
    group.first = earliest(group.first, ts);
    group.last = Math.max(group.last, ts);
    const note = [ts, event.event_id, error] as const;
    if (outranks(note, group.error)) group.error = note;
    group.taskType = settle(group.taskType, cut(event.task_type, 100));
    group.phase = settle(group.phase, cut(event.phase, 100));
    group.projectId = event.project_id ?? null;
    if (event.task_id !== undefined) group.newest = newestTen(group.newest, ts, event.task_id);
    if (event.parent_task_id !== undefined) {
      group.parents = newestTen(group.parents, ts, event.parent_task_id);
    }
  }
}

function prune(bySecond: Map<number, number>): void {
  if (bySecond.size <= RATE_KEEP_SEC) return;
  for (const second of [...bySecond.keys()].sort((a, b) => a - b)) {
    if (bySecond.size <= RATE_KEEP_SEC) break;
    bySecond.delete(second);
  }
}
