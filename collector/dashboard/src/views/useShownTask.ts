/** The research task that the page shows where none was chosen. */
import { useRef } from "react";
import type { MonitoringFeed } from "./useMonitoringFeed";
import { useView } from "./useView";
import type { TaskRow, TasksParams } from "./view-types";

/** The newest open tasks: one view for all who ask for them. */
export const OPEN_TASKS: TasksParams = {
  status: ["pending", "processing", "retrying", "stalled"],
  sort: "newest",
  count: 40,
};
/** Shown where none runs. */
const NEWEST: TasksParams = { sort: "newest", count: 8 };

/**
 * The id of the chosen task, else of one that runs; that one stays until it has ended and another
 * runs. Null: there is none.
 */
export function useShownTask(feed: MonitoringFeed, chosen: string): string | null {
  const open = useView(feed, "tasks", chosen ? null : OPEN_TASKS);
  const newest = useView(feed, "tasks", chosen ? null : NEWEST);
  const last = useRef<{ projectId: string | null; taskId: string | null }>({
    projectId: feed.projectId,
    taskId: null,
  });
  if (chosen) {
    last.current = { projectId: feed.projectId, taskId: null };
    return chosen;
  }
  const isOther = last.current.projectId !== feed.projectId;
  const isRefreshing = open.isRefreshing || newest.isRefreshing;
  if (isRefreshing && !isOther) return last.current.taskId;
  // Not before both have come: the newest may have ended while an older one runs.
  const rows = open.head && newest.head ? [...open.rows, ...newest.rows] : [];
  const taskId = nextTask(rows, isOther ? null : last.current.taskId);
  last.current = { projectId: feed.projectId, taskId };
  return taskId;
}

/** The task to show after `shown`, of the open ones and the newest ones. */
export function nextTask(rows: readonly TaskRow[], shown: string | null): string | null {
  const running = rows.find((task) => task.end === null);
  const held = rows.find((task) => task.k === shown);
  if (shown !== null && (held === undefined || held.end === null || running === undefined))
    return shown;
  return running?.k ?? rows[0]?.k ?? null;
}
