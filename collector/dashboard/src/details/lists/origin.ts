/** From which list the details of a job were opened, and the jobs beside it there. Pure. */
import type { ListedJob } from "./JobList";

/** A list in the details of a group of failures, a queue or a worker, and the job chosen there. */
export interface Origin {
  kind: "failure" | "queue" | "worker";
  /** Key of what the list belongs to, in its view. */
  key: string;
  task: string;
  /** Null: the task itself was chosen. */
  job: string | null;
  /** Key of the attempt in the view `tree`. */
  node: string;
}

/** Whether a job, or a row that is none, is the one that was chosen there. */
export function isOrigin(
  origin: Origin | null,
  task: string | null,
  job: string | null,
  node: string,
): origin is Origin {
  if (origin === null || origin.task !== task || origin.job !== job) return false;
  return job !== null || origin.node === node;
}

/** The number of the chosen job in its list, from 0; -1 if it has left the list. */
export function indexIn(rows: readonly ListedJob[], origin: Origin): number {
  const exact = rows.findIndex((row) => row.task === origin.task && row.node === origin.node);
  if (exact >= 0) return exact;
  return rows.findIndex((row) => row.task === origin.task && row.job === origin.job);
}

/** The failure after (`step` 1) or before (-1) the chosen one; null at the list's end. */
export function besides(
  rows: readonly ListedJob[],
  origin: Origin,
  step: 1 | -1,
): ListedJob | null {
  const index = indexIn(rows, origin);
  return index < 0 ? null : (rows[index + step] ?? null);
}
