/** Names of research tasks by their ids, for panels whose rows have only the ids. */
import { useEffect, useMemo, useState } from "react";
import { taskName } from "../lib/format";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useView } from "../views/useView";

/** Ids that one view can ask for. */
const MAX_KEYS = 200;
/** Titles that are remembered for each feed. */
const MAX_TITLES = 2000;

/** Titles that were seen: they hardly ever change, and the view has whole rows of tasks. */
const seenTitles = new WeakMap<object, Map<string, string>>();

function titlesOf(store: object): Map<string, string> {
  const known = seenTitles.get(store) ?? new Map<string, string>();
  seenTitles.set(store, known);
  return known;
}

/**
 * The names of these tasks; one without title and type, or that the collector does not know, is
 * left out. The same map object as long as no name changes.
 *
 * Args: `taskIds` in any order, repeated or not; of more than 200 without a known title the rest
 * are not asked for.
 */
export function useTaskTitles(
  feed: MonitoringFeed,
  taskIds: readonly string[],
): ReadonlyMap<string, string> {
  const seen = titlesOf(feed.store);
  const ids = [...new Set(taskIds)];
  const asked = ids
    .filter((taskId) => !seen.has(taskId))
    .slice(0, MAX_KEYS)
    .sort();
  const { rows } = useView(feed, "tasks", asked.length > 0 ? { keys: asked } : null);
  const [, renderAgain] = useState(0);
  useEffect(() => {
    const titled = rows.filter((task) => task.title !== null && !seen.has(task.k));
    for (const task of titled) seen.set(task.k, taskName(task));
    for (const taskId of seen.keys()) {
      if (seen.size <= MAX_TITLES) break;
      seen.delete(taskId);
    }
    if (titled.length > 0) renderAgain((n) => n + 1);
  }, [rows, seen]);

  const names = new Map<string, string>();
  for (const task of rows) {
    if ((task.title ?? task.type) !== null) names.set(task.k, taskName(task));
  }
  for (const taskId of ids) {
    const title = seen.get(taskId);
    if (title !== undefined) names.set(taskId, title);
  }
  const text = JSON.stringify([...names]);
  return useMemo(() => new Map(JSON.parse(text) as [string, string][]), [text]);
}
