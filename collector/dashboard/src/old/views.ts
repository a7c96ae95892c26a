/** Records -> cards, workers and failures as components show them; the rules of the collector's `snapshot.py`. */
import type { FoldState } from "./fold-state";
import type { Judge } from "./judge";
import type { FailureRecord, PhaseRecord, TaskRecord } from "./records";
import type { Status } from "../feed/wire";

const FORGET_WORKER_AFTER_MS = 3_600_000;
const MIN_RATED_JOBS = 3;
const MIN_RATED_SEC = 5;
const RATE_SPAN_SEC = 60;

export interface PhaseView {
  name: string;
  status: Status;
  startedAt: number | null;
  endedAt: number | null;
  durationMs: number | null;
  total: number | null;
  completed: number;
  failed: number;
  pending: number;
  retrying: number;
  processing: number;
  ratePerSec: number | null;
  message: string | null;
}

export interface CardView {
  taskId: string;
  title: string | null;
  taskType: string | null;
  domain: string | null;
  projectId: string | null;
  traceId: string | null;
  status: Status;
  currentPhase: string | null;
  startedAt: number | null;
  endedAt: number | null;
  durationMs: number | null;
  lastEventAt: number;
  etaSec: number | null;
  completed: number;
  failed: number;
  pending: number;
  running: number;
  retries: number;
  error: string | null;
  message: string | null;
  phases: PhaseView[];
}

export interface WorkerView {
  workerId: string;
  status: "online" | "offline" | "stopped";
  host: string | null;
  pid: number | null;
  startedAt: number | null;
  lastSeenAt: number | null;
  taskId: string | null;
  taskType: string | null;
  parentTaskId: string | null;
  parentTitle: string | null;
  taskStartedAt: number | null;
  completed: number;
  failed: number;
  dropped: number;
}

export interface FailureView {
  key: string;
  error: string;
  taskType: string | null;
  phase: string | null;
  projectId: string | null;
  count: number;
  firstAt: number | null;
  lastAt: number;
  taskIds: string[];
  parentTaskIds: string[];
}

function phaseView(
  phase: PhaseRecord,
  taskStatus: Status,
  taskEnded: number | null,
  now: number,
): PhaseView {
  const { seen } = phase;
  const seenTotal =
    seen.pending +
    seen.processing +
    seen.completed +
    seen.failed +
    seen.retrying +
    seen.stalled +
    phase.unnamed;
  const told = (name: string) => phase.counts.get(name)?.[2] ?? 0;
  const toldTotal = told("total") || told("completed") + told("failed") + told("pending");
  // A snapshot's counts hold what was told and what was seen, whichever was ahead; where the
  // publisher goes on telling a total, that one is right.
  const isTotalTold = (phase.counts.get("total")?.[0] ?? 0) > 0;
  const total = phase.isLoaded && isTotalTold ? toldTotal : Math.max(toldTotal, seenTotal);
  const completed = Math.min(total, Math.max(told("completed"), seen.completed));
  let failed = seen.failed;
  const isPartial = seenTotal < toldTotal || phase.hasForgotten || phase.isLoaded;
  if (isPartial) failed = Math.max(failed, told("failed"));
  failed = Math.min(failed, Math.max(0, total - completed));

  let status: Status;
  if (phase.status !== null) status = phase.status;
  else if (seen.processing > 0 || seen.retrying > 0) status = "processing";
  else status = completed + failed < seenTotal ? "pending" : "completed";
  let ended = phase.ended;
  if (ended === null && status === "completed") ended = phase.lastEnd || null;
  if (status === "processing" || status === "pending") {
    if (taskStatus === "completed" || taskStatus === "failed" || taskStatus === "stalled") {
      status = taskStatus;
      ended = taskEnded;
    }
  }
  return {
    name: phase.name,
    status,
    startedAt: phase.started ?? phase.firstSeen,
    endedAt: ended,
    durationMs: phase.durationMs,
    total: total || null,
    completed,
    failed,
    pending: Math.max(0, total - completed - failed),
    retrying: Math.max(0, seen.retrying),
    processing: Math.max(0, seen.processing),
    ratePerSec: status === "processing" ? phaseRate(phase, now) : null,
    message: phase.message?.[2] ?? null,
  };
}

/** Jobs ended per second over the last minute; null until three have ended in five seconds. */
export function phaseRate(phase: PhaseRecord, now: number): number | null {
  const end = Math.floor(now / 1000);
  const first = end - RATE_SPAN_SEC;
  let count = 0;
  let since = end;
  for (const [second, ended] of phase.endsBySecond) {
    if (second < first || second > end) continue;
    count += ended;
    since = Math.min(since, second);
  }
  const told = [...phase.samples].filter(([second]) => second >= first && second <= end);
  told.sort((a, b) => a[0] - b[0]);
  const oldest = told[0];
  const newest = told[told.length - 1];
  if (oldest && newest && newest[1] - oldest[1] > count) {
    count = newest[1] - oldest[1];
    since = oldest[0];
  }
  if (count >= MIN_RATED_JOBS && end - since >= MIN_RATED_SEC) {
    return Math.round((count / (end - since)) * 1000) / 1000;
  }
  const isGivenFresh = now - phase.givenRateAt < (RATE_SPAN_SEC / 4) * 1000;
  return isGivenFresh ? phase.givenRate : null;
}

export function cardView(task: TaskRecord, judge: Judge): CardView {
  const status = judge.taskStatus(task);
  const isOver = status === "completed" || status === "failed" || status === "stalled";
  const ended = isOver ? (task.ended ?? task.lastSeen) : null;
  const started = (phase: PhaseRecord) => phase.started ?? phase.firstSeen ?? 0;
  const phases = [...task.phases.values()]
    .sort((a, b) => started(a) - started(b) || (a.name < b.name ? -1 : 1))
    .map((phase) => phaseView(phase, status, ended, judge.now));
  const running = phases.filter((phase) => phase.status === "processing");
  const current = (running.length > 0 ? running : phases).at(-1);
  const rest = phaseView(task.unphased, status, ended, judge.now);
  const sum = (name: "completed" | "failed" | "pending") =>
    phases.reduce((total, phase) => total + phase[name], rest[name]);
  return {
    taskId: task.taskId,
    title: task.title,
    taskType: task.taskType ?? task.origin,
    domain: task.domain,
    projectId: task.projectId,
    traceId: task.traceId,
    status,
    currentPhase: current?.name ?? null,
    startedAt: task.started ?? task.firstSeen,
    endedAt: ended,
    durationMs: ended === null ? null : task.durationMs,
    lastEventAt: task.lastSeen,
    etaSec: eta(running),
    completed: sum("completed"),
    failed: sum("failed"),
    pending: sum("pending"),
    running: task.running.size,
    retries: task.retries,
    error: task.error,
    message: task.message?.[2] ?? null,
    phases,
  };
}

/** Seconds until the running phases are done, the slowest counting; null without a rate. */
function eta(running: readonly PhaseView[]): number | null {
  if (running.length === 0) return null;
  let slowest = 0;
  for (const phase of running) {
    if (!phase.ratePerSec || phase.total === null) return null;
    slowest = Math.max(slowest, phase.pending / phase.ratePerSec);
  }
  return Math.round(slowest * 10) / 10;
}

const collator = new Intl.Collator(undefined, { numeric: true });

/** Workers by id, numbers before names; those gone for an hour are left out. */
export function workerViews(judge: Judge): WorkerView[] {
  const views: WorkerView[] = [];
  for (const worker of judge.fold.workers.values()) {
    const status = judge.workerStatus(worker);
    if (status !== "online" && judge.now - worker.lastSeen > FORGET_WORKER_AFTER_MS) continue;
    let job = null;
    if (status === "online") {
      for (const key of worker.running) {
        const found = judge.fold.jobs.get(key);
        if (found && (job === null || (found.started ?? 0) > (job.started ?? 0))) job = found;
      }
    }
    views.push({
      workerId: worker.workerId,
      status,
      host: worker.host,
      pid: worker.pid,
      startedAt: worker.started,
      lastSeenAt: worker.lastSeen || null,
      taskId: job?.taskId ?? null,
      taskType: job?.taskType ?? null,
      parentTaskId: job?.parentTaskId ?? null,
      parentTitle: judge.fold.tasks.get(job?.parentTaskId ?? "")?.title ?? null,
      taskStartedAt: job?.started ?? null,
      completed: worker.completed,
      failed: worker.failed,
      dropped: worker.dropped,
    });
  }
  return views.sort((a, b) => collator.compare(a.workerId, b.workerId));
}

/** Failures by error, the latest first. */
export function failureViews(fold: FoldState): FailureView[] {
  return [...fold.failures.values()]
    .sort((a, b) => b.last - a.last || (a.key < b.key ? 1 : -1))
    .map((group: FailureRecord) => ({
      key: group.key,
      error: group.error[2],
      taskType: group.taskType,
      phase: group.phase,
      projectId: group.projectId,
      count: group.count,
      firstAt: group.first,
      lastAt: group.last,
      taskIds: group.newest.map((item) => item[1]).reverse(),
      parentTaskIds: group.parents.map((item) => item[1]).reverse(),
    }));
}
