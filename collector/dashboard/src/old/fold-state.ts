/**
 * What the page remembers of work, by key, and the bounds it keeps.
 *
 * Whatever is sent, the maps stay as large as `FoldLimits` says: the oldest that has ended leaves first.
 */
import {
  applySpan,
  cut,
  earliest,
  ENDED,
  type FailureRecord,
  type JobRecord,
  newFailure,
  newPhase,
  newTask,
  newWorker,
  type PhaseRecord,
  settle,
  type SpanRecord,
  type TaskRecord,
  type WorkerRecord,
} from "./records";
import { RecentIds } from "./recent-ids";
import type { MonitoringEvent } from "../feed/wire";

export interface FoldLimits {
  tasks: number;
  jobs: number;
  spans: number;
  spansPerTask: number;
  phasesPerTask: number;
  workers: number;
  queues: number;
  failures: number;
  eventIds: number;
}

export const DEFAULT_LIMITS: FoldLimits = {
  tasks: 400,
  jobs: 20_000,
  spans: 30_000,
  spansPerTask: 4_000,
  phasesPerTask: 100,
  workers: 2_000,
  queues: 200,
  failures: 200,
  eventIds: 20_000,
};

export class FoldState {
  readonly tasks = new Map<string, TaskRecord>();
  /** By `jobKey`. */
  readonly jobs = new Map<string, JobRecord>();
  readonly workers = new Map<string, WorkerRecord>();
  readonly queues = new Map<string, readonly [number, string, number]>();
  readonly failures = new Map<string, FailureRecord>();
  /** Ids of the research tasks whose card has changed; whoever builds cards clears it. */
  readonly changed = new Set<string>();

  private readonly knownIds: RecentIds;
  /** Keys in the order they ended, from `endedHead` on. */
  private endedJobs: string[] = [];
  private endedHead = 0;
  private spanCount = 0;

  constructor(protected readonly limits: FoldLimits = DEFAULT_LIMITS) {
    this.knownIds = new RecentIds(limits.eventIds);
  }

  /** Forget everything but which events have been folded. */
  clear(): void {
    for (const map of [this.tasks, this.jobs, this.workers, this.queues, this.failures]) map.clear();
    this.changed.clear();
    this.endedJobs = [];
    this.endedHead = 0;
    this.spanCount = 0;
  }

  /** Forget everything, and which events were seen: another feed may send them again. */
  reset(): void {
    this.clear();
    this.knownIds.clear();
  }

  /** Whether an event has been folded, or came with a snapshot. */
  knows(eventId: string): boolean {
    return this.knownIds.has(eventId);
  }

  /** False when the event is known already. */
  remember(eventId: string): boolean {
    if (this.knownIds.has(eventId)) return false;
    this.knownIds.add(eventId);
    return true;
  }

  // --- records, made when first asked for ----------------------------------------------------------

  task(event: MonitoringEvent, ts: number, seen: number): TaskRecord | null {
    const taskId = event.parent_task_id;
    if (taskId === undefined) return null;
    let task = this.tasks.get(taskId);
    if (task === undefined) {
      task = newTask(taskId);
      this.tasks.set(taskId, task);
      this.shedTasks(taskId);
    }
    this.changed.add(taskId);
    task.projectId = settle(task.projectId, event.project_id);
    task.traceId = settle(task.traceId, event.trace_id);
    task.firstSeen = earliest(task.firstSeen, ts);
    task.lastSeen = Math.max(task.lastSeen, seen);
    return task;
  }

  phase(task: TaskRecord, fullName: string | null | undefined, ts: number): PhaseRecord {
    const name = cut(fullName, 100);
    if (!name) return task.unphased;
    let phase = task.phases.get(name);
    if (phase === undefined) {
      if (task.phases.size >= this.limits.phasesPerTask) return task.unphased;
      phase = newPhase(name);
      task.phases.set(name, phase);
    }
    phase.firstSeen = earliest(phase.firstSeen, ts);
    return phase;
  }

  worker(workerId: string): WorkerRecord {
    let worker = this.workers.get(workerId);
    if (worker === undefined) {
      worker = newWorker(workerId);
      this.workers.set(workerId, worker);
      if (this.workers.size > this.limits.workers) this.shedWorker(workerId);
    }
    return worker;
  }

  failure(key: string): FailureRecord {
    let group = this.failures.get(key);
    if (group === undefined) {
      group = newFailure(key);
      this.failures.set(key, group);
      if (this.failures.size > this.limits.failures) this.shedFailure(key);
    }
    return group;
  }

  // --- jobs by status -----------------------------------------------------------------------------

  count(
    task: TaskRecord | null,
    key: string,
    job: JobRecord,
    ts: number,
  ): PhaseRecord | null {
    if (job.status === "processing" && job.workerId !== null) {
      this.worker(job.workerId).running.add(key);
    }
    if (!task) return null;
    const phase = this.phase(task, job.phase, ts);
    phase.seen[job.status]++;
    if (job.status === "processing") task.running.add(job.taskId);
    else if (job.status === "pending" || job.status === "retrying") task.queuedJobs++;
    return phase;
  }

  uncount(task: TaskRecord | null | undefined, key: string, job: JobRecord): void {
    if (job.status === "processing" && job.workerId !== null) {
      this.workers.get(job.workerId)?.running.delete(key);
    }
    if (!task) return;
    const phase = (job.phase !== null && task.phases.get(job.phase)) || task.unphased;
    phase.seen[job.status]--;
    task.running.delete(job.taskId);
    if (job.status === "pending" || job.status === "retrying") task.queuedJobs--;
  }

  /** A job has ended: the first to leave when there are too many. */
  noteEnded(key: string): void {
    this.endedJobs.push(key);
  }

  // --- bounds -------------------------------------------------------------------------------------

  /** Fold an event into its bar. */
  span(
    task: TaskRecord,
    event: MonitoringEvent,
    ts: number,
    kind: "research_task" | "phase" | "enqueue" | "job",
  ): void {
    const before = task.spans.size;
    applySpan(task, event, ts, kind);
    this.spanCount += task.spans.size - before;
    if (task.spans.size > this.limits.spansPerTask) {
      this.shedSpans(task, (this.limits.spansPerTask * 3) / 4);
    }
    if (this.spanCount > this.limits.spans) {
      this.shedSpansOfAll();
    }
  }

  /** The task least spoken of pays, down to what a snapshot would give of it. */
  private shedSpansOfAll(): void {
    for (const keep of [200, 50]) {
      let victim: TaskRecord | null = null;
      for (const task of this.tasks.values()) {
        if (task.spans.size <= keep) continue;
        if (victim === null || task.lastSeen < victim.lastSeen) victim = task;
      }
      if (victim) {
        this.shedSpans(victim, keep);
        return;
      }
    }
  }

  private shedSpans(task: TaskRecord, keep: number): void {
    const age = (span: { end: readonly [boolean, number, string] | null; kind: string }) =>
      span.end === null && span.kind !== "enqueue" ? 2 : span.kind !== "enqueue" ? 1 : 0;
    const ordered = [...task.spans.values()].sort(
      (a, b) =>
        age(a) - age(b) ||
        (a.end?.[1] ?? a.started ?? a.queued ?? 0) - (b.end?.[1] ?? b.started ?? b.queued ?? 0),
    );
    for (const span of ordered.slice(0, ordered.length - keep)) task.spans.delete(span.spanId);
    this.spanCount -= Math.max(0, ordered.length - keep);
    task.spansVersion++;
  }

  shedJobs(): void {
    while (this.jobs.size > this.limits.jobs) {
      const next = this.endedJobs[this.endedHead];
      if (next !== undefined) {
        this.endedHead++;
        const job = this.jobs.get(next);
        if (job === undefined || !ENDED.has(job.status)) continue;
        const task = this.tasks.get(job.parentTaskId ?? "");
        const phase = task && ((job.phase !== null && task.phases.get(job.phase)) || task.unphased);
        if (phase) phase.hasForgotten = true;
        this.jobs.delete(next);
      } else {
        const [key, job] = this.jobs.entries().next().value as [string, JobRecord];
        this.uncount(this.tasks.get(job.parentTaskId ?? ""), key, job);
        this.jobs.delete(key);
      }
    }
    if (this.endedJobs.length > 4 * this.limits.jobs) {
      // Jobs left with their research task as well: whoever is gone need not be remembered as ended.
      this.endedJobs = [...new Set(this.endedJobs.slice(this.endedHead))].filter((key) =>
        ENDED.has(this.jobs.get(key)?.status ?? ""),
      );
      this.endedHead = 0;
    }
  }

  private shedTasks(newcomer: string): void {
    if (this.tasks.size <= this.limits.tasks) return;
    const count = 1 + Math.floor(this.limits.tasks / 20);
    const byAge = [...this.tasks.values()].filter((task) => task.taskId !== newcomer);
    byAge.sort((a, b) => Number(isUnderWay(a)) - Number(isUnderWay(b)) || a.lastSeen - b.lastSeen);
    const gone = new Set(byAge.slice(0, count).map((task) => task.taskId));
    for (const [key, job] of this.jobs) {
      if (!gone.has(job.parentTaskId ?? "")) continue;
      this.uncount(this.tasks.get(job.parentTaskId ?? ""), key, job);
      this.jobs.delete(key);
    }
    for (const taskId of gone) {
      this.spanCount -= this.tasks.get(taskId)?.spans.size ?? 0;
      this.tasks.delete(taskId);
      this.changed.add(taskId);
    }
  }

  private shedWorker(newcomer: string): void {
    let oldest: WorkerRecord | null = null;
    for (const worker of this.workers.values()) {
      if (worker.running.size > 0 || worker.workerId === newcomer) continue;
      if (oldest === null || worker.lastSeen < oldest.lastSeen) oldest = worker;
    }
    if (oldest) this.workers.delete(oldest.workerId);
  }

  private shedFailure(newcomer: string): void {
    let oldest: FailureRecord | null = null;
    for (const group of this.failures.values()) {
      if (group.key !== newcomer && (oldest === null || group.last < oldest.last)) oldest = group;
    }
    if (oldest) this.failures.delete(oldest.key);
  }

  /** A bar came with a snapshot. */
  addSpan(task: TaskRecord, span: SpanRecord): void {
    task.spans.set(span.spanId, span);
    this.spanCount++;
  }
}

function isUnderWay(task: TaskRecord): boolean {
  if (task.running.size > 0) return true;
  if (task.isRooted) return !ENDED.has(task.rootStatus);
  // Without a root nothing says the end: it has come when nothing is left to do.
  return task.queuedJobs > 0 || [...task.phases.values()].some((phase) => phase.status === "processing");
}

/** Jobs of different research tasks may share an id. */
export function jobKey(parentTaskId: string | undefined, taskId: string): string {
  return `${parentTaskId ?? ""}\n${taskId}`;
}
