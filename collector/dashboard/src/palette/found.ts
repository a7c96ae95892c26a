/** What the collector finds for a typed text: tasks, jobs and other rows, workers, queues. */
import { useEffect, useState } from "react";
import { queueLabel, STATUS_LABELS, shortJob } from "../lib/format";
import type { ViewState } from "../lib/url-state";
import type { ViewName } from "../views/reduce";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import type { QueueRow, SearchRow, Views, WorkerRow } from "../views/view-types";
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
  /** What the collector has to say about the text: `asking`, it `failed` to answer, or it has. */
  state: "asking" | "failed" | "answered";
}

type Answer = Omit<Found, "state"> & { text: string; state: "failed" | "answered" };

/**
 * The places that have the text; none for an empty one. While the collector is asked, those of the
 * former text that have this one too.
 *
 * Asked over HTTP: the page has up to 14 of the 16 subscriptions that a client may have.
 */
export function useFound(feed: MonitoringFeed, typed: string): Found {
  const { baseUrl, projectId } = feed;
  const text = typed.trim();
  const [answer, setAnswer] = useState<Answer>({ text: "", places: [], state: "answered" });
  useEffect(() => {
    if (text === "") return;
    const abort = new AbortController();
    const timer = setTimeout(async () => {
      const project = projectId === null ? {} : { project: projectId };
      const ask = <V extends ViewName>(view: V, params: Views[V]["params"]) =>
        readRows(baseUrl, view, { ...project, ...params }, abort.signal);
      try {
        const [tasks, nodes, workers, queues] = await Promise.all([
          ask("search", { text, among: "tasks", count: TASKS }),
          ask("search", { text, count: NODES }),
          ask("workers", { count: WORKERS }),
          ask("queues", { count: WORKERS }),
        ]);
        const named = [...workers.map(workerPlace), ...queues.map(queuePlace)];
        const places = [...tasks.map(taskPlace), ...matching(named, text), ...nodes.map(nodePlace)];
        setAnswer({ text, places, state: "answered" });
      } catch {
        if (!abort.signal.aborted) setAnswer({ text, places: [], state: "failed" });
      }
    }, TYPING_RESTS_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [text, baseUrl, projectId]);
  if (text === answer.text) return answer;
  return { places: text === "" ? [] : matching(answer.places, text), state: "asking" };
}

/** The rows of one window of a view. Throws if the collector does not answer with them. */
async function readRows<V extends ViewName>(
  baseUrl: string | undefined,
  view: V,
  params: object,
  signal: AbortSignal,
): Promise<readonly Views[V]["row"][]> {
  const url = new URL(`monitor/views/${view}`, baseUrl ?? document.baseURI);
  url.searchParams.set("params", JSON.stringify(params));
  const answer = await fetch(url, { credentials: "include", cache: "no-store", signal });
  if (!answer.ok) throw new Error(`the view could not be read (${answer.status})`);
  return ((await answer.json()) as { rows: readonly Views[V]["row"][] }).rows;
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
