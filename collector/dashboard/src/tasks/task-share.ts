/** How far a research task is. */
import type { TaskRow } from "../views/view-types";

/**
 * Share of the known jobs that have ended; 1 only when the research task itself is completed.
 *
 * Null where nothing says how many there will be: where no job is known, or all that are known have
 * ended and the task has not, and in a trace of other programs in which no job waits. Each of its
 * jobs is known when it runs, so that an agent would be at 99 % from its first answer.
 */
export function shareOf(
  task: Pick<TaskRow, "k" | "trace" | "status" | "done" | "failed" | "pending" | "running">,
): number | null {
  if (task.status === "completed") return 1;
  if (task.k === task.trace && task.pending <= task.running) return null;
  const ended = task.done + task.failed;
  return task.pending === 0 ? null : ended / (ended + task.pending);
}
