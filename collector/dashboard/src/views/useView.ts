/** A view in a component: what it shows, and whether that is current. */
import { useCallback, useMemo, useRef, useSyncExternalStore } from "react";
import type { ViewName } from "./reduce";
import type { MonitoringFeed } from "./useMonitoringFeed";
import { canonicalParams, LOADING, OFF, type ViewSnapshot } from "./view-store";
import type { Views } from "./view-types";

/** Views that can be limited to a project; the feed's own project is filled in. */
const WITH_PROJECT: ReadonlySet<ViewName> = new Set<ViewName>([
  "overview",
  "tasks",
  "failures",
  "workers",
  "queues",
  "events",
  "search",
]);
/** Views that can be limited to a research task; the feed's own one is filled in. */
const WITH_TASK: ReadonlySet<ViewName> = new Set<ViewName>(["failures", "events"]);

/** A window to show before the first one has come, as `GET /monitor/views/{view}` answers it. */
export interface InitialWindow<V extends ViewName> {
  head: Views[V]["head"];
  rows: readonly Views[V]["row"][];
  at: number;
}

/**
 * Subscribe to a view while mounted; the component renders again when it changes.
 *
 * Components with equal parameters share one subscription. Rows that have not changed stay the same
 * objects. While the parameters change, the rows of the old ones stay, with `isRefreshing`, unless
 * another task, job, row, worker, queue or group is asked for.
 *
 * Args: `params` null: no subscription, status `off`; `initial` shown until the view has come, also
 * on a server.
 */
export function useView<V extends ViewName>(
  feed: MonitoringFeed,
  view: V,
  params: Views[V]["params"] | null,
  initial?: InitialWindow<V>,
): ViewSnapshot<V> {
  const { store, projectId, taskId } = feed;
  const key = params === null ? null : canonicalParams(filledIn(view, params, projectId, taskId));
  const asked = useMemo(() => (key === null ? null : (JSON.parse(key) as object)), [key]);
  const first = useRef<ViewSnapshot<V>>(null);
  first.current ??= initial ? { ...LOADING, ...initial, isRefreshing: true } : LOADING;

  const subscribe = useCallback(
    (listener: () => void) =>
      asked === null ? () => undefined : store.subscribe(view, asked, listener),
    [store, view, asked],
  );
  const current = useSyncExternalStore(
    subscribe,
    () => (asked === null ? OFF : store.snapshot(view, asked)) as ViewSnapshot<V>,
    () => (asked === null ? OFF : LOADING) as ViewSnapshot<V>,
  );

  const last = useRef<{ subject: string; snapshot: ViewSnapshot<V> }>(null);
  const subject = `${view} ${subjectOf(asked)}`;
  if (current.head !== null) last.current = { subject, snapshot: current };
  const kept = last.current?.subject === subject ? last.current.snapshot : first.current;
  return useMemo(() => {
    if (current.status !== "loading" || kept.head === null) return current;
    return { ...kept, isRefreshing: true };
  }, [current, kept]);
}

function filledIn<V extends ViewName>(
  view: V,
  params: Views[V]["params"],
  projectId: string | null,
  taskId: string | null,
): object {
  const own: { project?: string; task?: string; keys?: string[] } = {};
  if (projectId !== null && WITH_PROJECT.has(view)) own.project = projectId;
  if (taskId !== null && WITH_TASK.has(view)) own.task = taskId;
  if (taskId !== null && view === "tasks") own.keys = [taskId];
  return { ...own, ...params };
}

const SUBJECTS = ["task", "job", "node", "worker", "queue", "failure", "project"] as const;

/** What the rows are about: rows of one are never shown for another. */
function subjectOf(params: object | null): string {
  const named = (params ?? {}) as Record<string, string | undefined>;
  return JSON.stringify(SUBJECTS.map((name) => named[name]));
}
