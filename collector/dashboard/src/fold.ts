/**
 * The fold of events into what the page shows, on top of a snapshot or of nothing.
 *
 * The same rules as the collector's `state.py`; both are tested with the same event logs. Framework
 * free and without a clock. A snapshot holds judged cards, not records, so `load` turns them back:
 * jobs it only counts stay `unnamed` until an event names them.
 */
import {
  ABSOLUTE_COUNTS,
  applySpan,
  attemptOf,
  cut,
  ENDED,
  earliest,
  errorKey,
  type FailureRecord,
  JOB_FACTS,
  type JobRecord,
  later,
  NO_RANK,
  newestTen,
  newJob,
  newPhase,
  newSpan,
  newTask,
  newWorker,
  outranks,
  type PhaseRecord,
  type Rank,
  settle,
  type TaskRecord,
  type WorkerRecord,
} from "./records";
import { RecentIds } from "./recent-ids";
import { optionalTime, parseTime } from "./time";
import type {
  FailureGroup,
  MonitoringEvent,
  PhaseProgress,
  SnapshotMessage,
  SpanBar,
  TaskCard,
  WorkerState,
} from "./wire";

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

const RATE_KEEP_SEC = 120;

export class LiveFold {
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

  constructor(private readonly limits: FoldLimits = DEFAULT_LIMITS) {
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

  /** Forget everything and start from a snapshot. */
  load(snapshot: SnapshotMessage): void {
    this.clear();
    const at = parseTime(snapshot.server_time);
    for (const event of snapshot.events) this.remember(event.event_id);
    for (const worker of snapshot.workers) this.loadWorker(worker);
    for (const card of snapshot.tasks) this.loadCard(card, at);
    for (const queue of snapshot.queues) {
      this.queues.set(queue.queue, [parseTime(queue.at), "", queue.depth]);
    }
    for (const group of snapshot.failures) this.loadFailure(group);
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
    const task = this.task(event, ts, seen);
    if (kind in JOB_FACTS) {
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
      const fact = JOB_FACTS[event.event_type];
      if (event.event_type === "phase_started" || event.event_type === "phase_completed") {
        this.span(task, event, ts, "phase");
      } else if (fact !== undefined && event.task_id === taskId) {
        this.span(task, event, ts, "research_task");
      } else if (fact !== undefined) {
        this.span(task, event, ts, fact[0] === 0 ? "enqueue" : "job");
      }
    }
  }

  private remember(eventId: string): boolean {
    if (this.knownIds.has(eventId)) return false;
    this.knownIds.add(eventId);
    return true;
  }

  // --- research tasks and phases ------------------------------------------------------------------

  private task(event: MonitoringEvent, ts: number, seen: number): TaskRecord | null {
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

  private applyRoot(task: TaskRecord, event: MonitoringEvent, ts: number): void {
    task.isRooted = true;
    task.taskType = settle(task.taskType, cut(event.task_type, 100));
    const title = event.meta?.["title"];
    const domain = event.meta?.["domain"];
    if (typeof title === "string") task.title = settle(task.title, cut(title, 300));
    if (typeof domain === "string") task.domain = settle(task.domain, cut(domain, 300));
    if (event.message !== undefined) task.message = later(task.message, ts, event);
    const fact = JOB_FACTS[event.event_type];
    if (fact === undefined) return;
    const [stage, order, status] = fact;
    const rank: Rank = [attemptOf(event), stage, ts, order, event.event_id];
    const isEnd = ENDED.has(status);
    if (event.event_type === "task_started") task.started = earliest(task.started, ts);
    else if (isEnd && event.duration_ms !== undefined) {
      task.started = earliest(task.started, ts - event.duration_ms);
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

  private phase(task: TaskRecord, name: string | null | undefined, ts: number): PhaseRecord {
    if (name === null || name === undefined) return task.unphased;
    let phase = task.phases.get(name);
    if (phase === undefined) {
      if (task.phases.size >= this.limits.phasesPerTask) return task.unphased;
      phase = newPhase(name);
      task.phases.set(name, phase);
    }
    phase.firstSeen = earliest(phase.firstSeen, ts);
    return phase;
  }

  private applyPhase(task: TaskRecord, event: MonitoringEvent, ts: number): void {
    const phase = this.phase(task, event.phase, ts);
    const isEnd = event.event_type === "phase_completed";
    if (!isEnd) phase.started = earliest(phase.started, ts);
    else if (event.duration_ms !== undefined) {
      phase.started = earliest(phase.started, ts - event.duration_ms);
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
    const fact = JOB_FACTS[event.event_type];
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
    if (ENDED.has(job.status)) this.endedJobs.push(key);
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

  private count(
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

  private uncount(task: TaskRecord | null | undefined, key: string, job: JobRecord): void {
    if (job.status === "processing" && job.workerId !== null) {
      this.workers.get(job.workerId)?.running.delete(key);
    }
    if (!task) return;
    const phase = (job.phase !== null && task.phases.get(job.phase)) || task.unphased;
    phase.seen[job.status]--;
    task.running.delete(job.taskId);
    if (job.status === "pending" || job.status === "retrying") task.queuedJobs--;
  }

  // --- workers, queues, failures ------------------------------------------------------------------

  private worker(workerId: string): WorkerRecord {
    let worker = this.workers.get(workerId);
    if (worker === undefined) {
      worker = newWorker(workerId);
      this.workers.set(workerId, worker);
      if (this.workers.size > this.limits.workers) this.shedWorker(workerId);
    }
    return worker;
  }

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
    let group = this.failures.get(key);
    if (group === undefined) {
      group = {
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
      this.failures.set(key, group);
      if (this.failures.size > this.limits.failures) this.shedFailure(key);
    }
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

  // --- from a snapshot ----------------------------------------------------------------------------

  private loadCard(card: TaskCard, at: number): void {
    const task = newTask(card.task_id);
    this.tasks.set(card.task_id, task);
    this.changed.add(card.task_id);
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
    // A card whose root has ended runs on while its jobs do; the root's own bar tells.
    const root = card.spans.find((bar) => bar.kind === "research_task");
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
      this.loadSpan(task, bar);
      if ((bar.kind !== "job" && bar.kind !== "enqueue") || bar.task_id === null) continue;
      const rank = rankOf(bar);
      const known = jobs.get(bar.task_id);
      if (known === undefined || outranks(rank, known[0])) jobs.set(bar.task_id, [rank, bar]);
    }
    for (const [rank, bar] of jobs.values()) this.loadJob(task, bar, rank);
    task.spansVersion++;
  }

  private loadSpan(task: TaskRecord, bar: SpanBar): void {
    const span = newSpan(bar.span_id, bar.kind);
    task.spans.set(bar.span_id, span);
    this.spanCount++;
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

  private loadJob(task: TaskRecord, bar: SpanBar, rank: Rank): void {
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
      this.jobs.set(key, job);
      this.endedJobs.push(key);
    } else if (phase.unnamed > 0) {
      phase.unnamed--;
      this.jobs.set(key, job);
      this.count(task, key, job, rank[2]);
    }
    // Else the counts say that it has ended since; a bar beyond the snapshot's limit told so.
  }

  private loadWorker(state: WorkerState): void {
    const worker = newWorker(String(state.worker_id));
    this.workers.set(worker.workerId, worker);
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
      if (!this.jobs.has(key)) {
        const job = newJob(state.current_parent_task_id, state.current_task_id);
        job.taskType = state.current_task_type;
        job.started = optionalTime(state.current_started_at);
        job.workerId = worker.workerId;
        job.status = "processing";
        // Below every fact, so that a card's own bar or the next event takes over.
        job.rank = NO_RANK;
        this.jobs.set(key, job);
      }
      worker.running.add(key);
    }
  }

  private loadFailure(group: FailureGroup): void {
    const last = parseTime(group.last_at);
    const rank = (name: string, index: number) => [last - index / 1000, name] as const;
    this.failures.set(group.key, {
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

  // --- bounds -------------------------------------------------------------------------------------

  private span(
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

  private shedJobs(): void {
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
      this.endedJobs = [...new Set(this.endedJobs.slice(this.endedHead))];
      this.endedHead = 0;
    }
  }

  private shedTasks(newcomer: string): void {
    if (this.tasks.size <= this.limits.tasks) return;
    const count = 1 + Math.floor(this.limits.tasks / 20);
    const byAge = [...this.tasks.values()].filter((task) => task.taskId !== newcomer);
    const isOpen = (task: TaskRecord) =>
      Number(!ENDED.has(task.rootStatus) || task.running.size > 0);
    byAge.sort((a, b) => isOpen(a) - isOpen(b) || a.lastSeen - b.lastSeen);
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
}

function rankOf(bar: SpanBar): Rank {
  const stage = bar.kind === "enqueue" ? 0 : bar.status === "completed" ? 2 : 1;
  const orders: Partial<Record<SpanBar["status"], number>> = { stalled: 1, retrying: 2, failed: 3 };
  const at = optionalTime(bar.ended_at ?? bar.started_at ?? bar.queued_at) ?? 0;
  return [bar.retry_count, stage, at, orders[bar.status] ?? 0, ""];
}

/** Jobs of different research tasks may share an id. */
export function jobKey(parentTaskId: string | undefined, taskId: string): string {
  return `${parentTaskId ?? ""}\n${taskId}`;
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

function prune(bySecond: Map<number, number>): void {
  if (bySecond.size <= RATE_KEEP_SEC) return;
  for (const second of [...bySecond.keys()].sort((a, b) => a - b)) {
    if (bySecond.size <= RATE_KEEP_SEC) break;
    bySecond.delete(second);
  }
}
