/** What the collector finds for a typed text: tasks, jobs and other rows, workers, queues. */
import { useEffect, useState } from "react";
import { queueLabel, STATUS_LABELS, shortJob } from "../lib/format";
import type { ViewState } from "../lib/url-state";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useView } from "../views/useView";
import type { QueueRow, SearchRow, WorkerRow } from "../views/view-types";
import { matching, type Option } from "./options";

/** Each text is a question to the collector, so it is asked when the typing rests. */
const TYPING_RESTS_MS = 150;
const TASKS = 10;
const NODES = 20;
const WORKERS = 200;

/** An option that leads to another view of the page. */
export interface Place extends Option {
  to: Partial<ViewState>;
}

export interface Found {
  places: readonly Place[];
  /** Whether the collector has not answered for this text yet. */
  isAsking: boolean;
}

/** The places that have the text; none for an empty one. */
export function useFound(feed: MonitoringFeed, typed: string): Found {
  const text = useRested(typed.trim(), TYPING_RESTS_MS);
  const asked = text === "" ? null : { text };
  const tasks = useView(feed, "search", asked && { ...asked, among: "tasks", count: TASKS });
  const nodes = useView(feed, "search", asked && { ...asked, count: NODES });
  const workers = useView(feed, "workers", asked && { count: WORKERS });
  const queues = useView(feed, "queues", asked && { count: WORKERS });
  if (asked === null) return { places: [], isAsking: typed.trim() !== "" };
  const views = [tasks, nodes, workers, queues];
  return {
    places: [
      ...tasks.rows.map(taskPlace),
      ...matching([...workers.rows.map(workerPlace), ...queues.rows.map(queuePlace)], text),
      ...nodes.rows.map(nodePlace),
    ],
    isAsking:
      text !== typed.trim() || views.some((view) => view.status === "loading" || view.isRefreshing),
  };
}

/** A value that follows another once that has not changed for a while. */
export function useRested(value: string, ms: number): string {
  const [rested, setRested] = useState("");
  useEffect(() => {
    const timer = setTimeout(() => setRested(value), ms);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return value === "" ? "" : rested;
}

function taskPlace({ k, name, status, task }: SearchRow): Place {
  return {
    id: `task ${k}`,
    label: name,
    detail: STATUS_LABELS[status],
    kind: "task",
    to: { task, node: "", job: "", open: "", worker: "", queue: "", failure: "" },
  };
}

function nodePlace({ k, name, kind, status, task, node, job, path }: SearchRow): Place {
  return {
    id: `node ${k}`,
    label: shortJob(name, task),
    detail: `${path.join(" › ")} · ${STATUS_LABELS[status]}`,
    kind: job === null ? kind : "job",
    to: job === null ? { task, node: node ?? "", open: "1" } : { task, job },
  };
}

function workerPlace({ k, id, status, host }: WorkerRow): Place {
  return {
    id: `worker ${k}`,
    label: String(id),
    detail: host === null ? status : `${host} · ${status}`,
    kind: "worker",
    to: { worker: k },
  };
}

function queuePlace({ k, depth }: QueueRow): Place {
  return {
    id: `queue ${k}`,
    label: queueLabel(k),
    detail: `${k} · ${depth} waiting`,
    kind: "queue",
    to: { queue: k },
  };
}
