/**
 * What has ended, judged at one moment: the rules of the collector's `judge.py`.
 *
 * Endings that never come or come in the wrong order are judged when looked at, not stored, so that
 * a late fact corrects what was shown.
 */
import { type FoldState, jobKey } from "./fold-state";
import { ENDED, type TaskRecord, type WorkerRecord } from "./records";
import type { Status } from "../feed/wire";

const QUEUED_GRACE_MS = 60_000;
const LOST_AFTER_MS = 300_000;
const QUIET_AFTER_MS = 900_000;
/** The collector's default `MONITORING_HEARTBEAT_TTL_SEC`. */
const HEARTBEAT_TTL_MS = 30_000;

/** The rules above at one moment, `now` in milliseconds by the collector's clock. */
export class Judge {
  constructor(
    readonly fold: FoldState,
    readonly now: number,
    private readonly ttlMs: number = HEARTBEAT_TTL_MS,
  ) {}

  workerStatus(worker: WorkerRecord): "online" | "offline" | "stopped" {
    if (worker.stopped > 0 && worker.stopped >= worker.lastBeat) return "stopped";
    if (this.now - worker.lastSeen <= this.ttlMs) return "online";
    return !worker.isBeating && worker.running.size > 0 ? "online" : "offline";
  }

  isWorkerGone(workerId: string | null): boolean {
    const worker = workerId === null ? undefined : this.fold.workers.get(workerId);
    return worker?.isBeating === true && this.workerStatus(worker) !== "online";
  }

  /** Jobs of a research task that run and are not lost. */
  liveJobs(task: TaskRecord): number {
    const isOld = task.ended !== null && this.now - task.lastSeen > LOST_AFTER_MS;
    let count = 0;
    for (const taskId of task.running) {
      const workerId = this.fold.jobs.get(jobKey(task.taskId, taskId))?.workerId ?? null;
      const worker = workerId === null ? undefined : this.fold.workers.get(workerId);
      if (isOld && (worker === undefined || !worker.isBeating)) continue;
      if (worker === undefined || this.workerStatus(worker) === "online") count++;
    }
    return count;
  }

  taskStatus(task: TaskRecord): Status {
    const quiet = this.now - task.lastSeen;
    const live = this.liveJobs(task);
    if (task.isRooted && ENDED.has(task.rootStatus)) {
      const isOpen = live > 0 || (task.queuedJobs > 0 && quiet <= QUEUED_GRACE_MS);
      return isOpen ? "processing" : task.rootStatus;
    }
    if (live > 0) return "processing";
    if (quiet > QUIET_AFTER_MS && (task.isRooted || task.queuedJobs > 0)) return "stalled";
    if (task.isRooted) return task.rootStatus;
    const hasOpenPhase = [...task.phases.values()].some((phase) => phase.status === "processing");
    const isOver = task.origin !== null && task.queuedJobs === 0;
    if (
      (!isOver && quiet <= QUEUED_GRACE_MS) ||
      (hasOpenPhase && quiet <= QUIET_AFTER_MS) ||
      task.queuedJobs > 0
    ) {
      return "processing";
    }
    const phases = [task.unphased, ...task.phases.values()];
    const hasFailed = phases.some((phase) => phase.seen.failed > 0);
    return hasFailed && !phases.some((phase) => phase.seen.completed > 0) ? "failed" : "completed";
  }
}
