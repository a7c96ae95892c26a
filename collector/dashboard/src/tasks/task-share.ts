/** How far a research task is. */
import type { TaskRow } from "../views/view-types";

/**
 * Share of the known jobs that have ended; 1 only when the research task itself is completed.
 *
 * Null where nothing says how many there will be: a trace of other programs in which no job waits.
 * Each of its jobs is known when it runs, so that an agent would be at 99 % from its first answer.
 */
export function shareOf(
  task: Pick<TaskRow, "k" | "trace" | "status" | "done" | "failed" | "pending" | "running">,
): number | null {
  if (task.status === "completed") return 1;
  if (task.k === task.trace && task.pending <= task.running) return null;
  const total = task.done + task.failed + task.pending;
  if (total === 0) return 0;
  return Math.min(0.99, (task.done + task.failed) / total);
}
