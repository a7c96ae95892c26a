/**
 * The state of the page in its URL: what is shown, the filters and the zoom, so that a link
 * reproduces it. README, "Links to the page", describes the parameters.
 */
import { useCallback, useEffect, useRef, useState } from "react";
import { STATUS_LABELS } from "./format";

/**
 * Holding `j` selects 30 events a second; browsers refuse more than about 20 URL changes a second.
 */
const STEP_INTERVAL_MS = 100;
/**
 * Choices of the same kind that follow within this time, such as a key held to zoom, share one
 * entry of the history: Chromium ignores more than 200 entries in 10 s, Safari throws at 100 in
 * 30 s.
 */
const SAME_ENTRY_MS = 400;
/** Longer values are truncated. The collector takes no longer ids. */
export const MAX_PART_CHARS = 512;

export interface ViewState {
  /** Only work of this project. */
  project: string;
  /** Research task that is shown; empty: the newest one that runs. */
  task: string;
  /** Chosen row of the shown task: its key in the view `tree`. */
  node: string;
  /** Chosen job of the shown task. */
  job: string;
  /** Number of the chosen job's run, from 1; empty: its newest. */
  run: string;
  /** "1": the details of the chosen row or job are open. Those of a `job` are in any case. */
  open: string;
  /** Zoom of the waterfall, `from-to` in ms from the task's start; empty: the whole task. */
  zoom: string;
  /** Worker whose details are open: its key in the view `workers`. */
  worker: string;
  /** Queue whose details are open: its key in the view `queues`. */
  queue: string;
  /** Group of failures whose details are open: its key in the view `failures`. */
  failure: string;
  /** Rows folded and unfolded in the waterfall. */
  folds: string;
  /** Text to search for. */
  text: string;
  /** Job type or phase. */
  type: string;
  status: string;
  /** Event whose details are open: its position in the log, in older links its id. */
  event: string;
  /** "1": the event table also shows heartbeats, queue depths and statistics. */
  all: string;
  /** Tab beside the event table: `failures` or `workers`. */
  tab: string;
  /** Section that a narrow page shows: `tasks`, `events` or `failures`. */
  section: string;
  /** How the task list is grouped: `project` or `status`; empty: not at all. */
  group: string;
  /** How tasks are drawn: `cards` or `rows`; empty: by how many there are. */
  layout: string;
  /** Ids of the tasks that are pinned to the top of the list, each URL-encoded, between commas. */
  pins: string;
  /** "1": the event table is folded away. */
  fold: string;
  /** "1": the page is drawn for a screen on a wall: larger, and without what needs a pointer. */
  wall: string;
  /** "1": the page is paused. */
  paused: string;
}

type Part = keyof ViewState;

/** Name in the URL of each part, and the most characters that are read of it. */
const PARTS: Record<Part, { name: string; chars: number }> = {
  project: { name: "project", chars: MAX_PART_CHARS },
  task: { name: "task", chars: MAX_PART_CHARS },
  node: { name: "node", chars: MAX_PART_CHARS },
  job: { name: "job", chars: MAX_PART_CHARS },
  run: { name: "run", chars: 9 },
  open: { name: "open", chars: 1 },
  worker: { name: "worker", chars: MAX_PART_CHARS },
  queue: { name: "queue", chars: MAX_PART_CHARS },
  failure: { name: "failure", chars: MAX_PART_CHARS },
  zoom: { name: "zoom", chars: 40 },
  // About 100 keys of rows; a URL stays below the 8 KB that proxies take.
  folds: { name: "folds", chars: 2_000 },
  text: { name: "q", chars: 200 },
  type: { name: "type", chars: 200 },
  status: { name: "status", chars: 20 },
  event: { name: "event", chars: 100 },
  all: { name: "all", chars: 1 },
  tab: { name: "tab", chars: 20 },
  section: { name: "section", chars: 20 },
  group: { name: "group", chars: 20 },
  layout: { name: "layout", chars: 20 },
  pins: { name: "pins", chars: 2_000 },
  fold: { name: "fold", chars: 1 },
  wall: { name: "wall", chars: 1 },
  paused: { name: "paused", chars: 1 },
};
const KEYS = Object.keys(PARTS) as Part[];
/** Most characters of `folds`. */
export const MAX_FOLDS_CHARS = PARTS.folds.chars;
/** Name of the shown task in older links, in which the zoom is in seconds. */
const OLD_TASK_NAME = "focus";
const OLD_ZOOM = /^(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)$/;

/** Parts whose choice is an entry of the browser's history; others replace the current entry. */
const PLACES: readonly Part[] = [
  "task",
  "node",
  "job",
  "run",
  "open",
  "worker",
  "queue",
  "failure",
  "zoom",
];
/** Parts that are chosen in quick steps, by a key that is held. */
const STEPPED: ReadonlySet<Part> = new Set(["node", "zoom"]);

export const EMPTY_VIEW = Object.fromEntries(KEYS.map((key) => [key, ""])) as unknown as ViewState;

/** The view that a query string describes; an unknown status counts as none. */
export function readView(search: string): ViewState {
  const params = new URLSearchParams(search);
  const view = { ...EMPTY_VIEW };
  for (const key of KEYS) {
    const { name, chars } = PARTS[key];
    view[key] = (params.get(name) ?? "").slice(0, chars);
  }
  const oldTask = params.get(OLD_TASK_NAME);
  if (oldTask) {
    view.task = oldTask.slice(0, PARTS.task.chars);
    const [, from, to] = OLD_ZOOM.exec(view.zoom) ?? [];
    view.zoom = from ? `${Math.round(Number(from) * 1000)}-${Math.round(Number(to) * 1000)}` : "";
  }
  if (!Object.hasOwn(STATUS_LABELS, view.status)) view.status = "";
  return view;
}

/** The query string for a view: empty parts are left out, parameters of other software are kept. */
export function writeView(view: ViewState, search: string): string {
  const params = new URLSearchParams(search);
  params.delete(OLD_TASK_NAME);
  for (const key of KEYS) {
    const { name } = PARTS[key];
    if (view[key]) params.set(name, view[key]);
    else params.delete(name);
  }
  const query = params.toString();
  return query ? `?${query}` : "";
}

/** The URL of the page with a view in it. */
export function linkTo(view: ViewState): string {
  const { origin, pathname, search, hash } = window.location;
  return origin + pathname + writeView(view, search) + hash;
}

/** How a change enters the browser's history: as a new entry, or instead of the current one. */
export type HistoryEntry = "push" | "replace";

/**
 * Changes parts of the view. Without `entry` a choice of task, node, job or zoom is a new entry of
 * the history, which Back leads away from; any other change replaces the current entry.
 */
export type ChangeView = (change: Partial<ViewState>, entry?: HistoryEntry) => void;

/**
 * The view and a function that changes it. Back and Forward bring the view of their entry back.
 */
export function useViewState(): [ViewState, ChangeView] {
  const [{ view, entry }, setState] = useState<{ view: ViewState; entry?: HistoryEntry }>(() => ({
    view: typeof window === "undefined" ? EMPTY_VIEW : readView(window.location.search),
  }));
  const written = useRef({ view, at: Number.NEGATIVE_INFINITY });

  useEffect(() => {
    const write = () => {
      const last = written.current;
      const now = performance.now();
      written.current = { view, at: now };
      const query = writeView(view, window.location.search);
      if (query === window.location.search) return;
      const url = window.location.pathname + query + window.location.hash;
      if ((entry ?? entryFor(last.view, view, now - last.at)) === "push") {
        window.history.pushState(null, "", url);
      } else window.history.replaceState(window.history.state, "", url);
    };
    const last = written.current;
    const waitMs = isOtherEventOnly(last.view, view)
      ? last.at + STEP_INTERVAL_MS - performance.now()
      : 0;
    if (waitMs <= 0) {
      write();
      return;
    }
    const timer = setTimeout(write, waitMs);
    return () => clearTimeout(timer);
  }, [view, entry]);

  useEffect(() => {
    const onPopState = () => {
      const view = readView(window.location.search);
      // A choice that follows must not share the entry that the user has come back to.
      written.current = { view, at: Number.NEGATIVE_INFINITY };
      setState({ view });
    };
    window.addEventListener("popstate", onPopState);
    return () => window.removeEventListener("popstate", onPopState);
  }, []);

  const change = useCallback<ChangeView>(
    (part, entry) =>
      setState((old) => {
        const view = applyChange(old.view, part);
        return entry === undefined ? { view } : { view, entry };
      }),
    [],
  );
  return [view, change];
}

/** How a change from one view to another, some time after the former change, enters the history. */
export function entryFor(from: ViewState, to: ViewState, afterMs: number): HistoryEntry {
  const moved = PLACES.filter((key) => from[key] !== to[key]);
  // Folding only names the task that is shown already.
  const isNamed = moved.length === 1 && from.task === "" && from.folds !== to.folds;
  if (moved.length === 0 || isNamed) return "replace";
  const isStep = moved.every((key) => STEPPED.has(key) && from[key] !== "" && to[key] !== "");
  return isStep && afterMs < SAME_ENTRY_MS ? "replace" : "push";
}

/** Whether a view shows details: of its row, job, worker, queue or group of failures. */
export function hasDetails(view: ViewState): boolean {
  const { worker, queue, failure, job, open, node } = view;
  return [worker, queue, failure, job].some(Boolean) || (open === "1" && node !== "");
}

/** The number of a run in a view; null: none, or no number. */
export function runOf(view: ViewState): number | null {
  return /^[1-9]\d*$/.test(view.run) ? Number(view.run) : null;
}

const NO_ROW = { node: "", job: "", run: "" } as const;
/** What details can be of beside a row or job of the shown task. */
const NO_OTHER = { worker: "", queue: "", failure: "" } as const;

function isOtherEventOnly(from: ViewState, to: ViewState): boolean {
  return KEYS.every((key) => key === "event" || from[key] === to[key]);
}

/**
 * The view after a change. Row, job, details, zoom and folds belong to one task and are reset with
 * it; row, job, worker, queue and group of failures are one choice, so that one resets the others.
 */
export function applyChange(old: ViewState, part: Partial<ViewState>): ViewState {
  const isOtherTask = part.task !== undefined && part.task !== old.task;
  const isOtherNode = part.node !== undefined && part.node !== old.node;
  const isOtherJob = part.job !== undefined && part.job !== old.job;
  return {
    ...old,
    ...(isOtherTask ? { ...NO_ROW, open: "", zoom: "", folds: "" } : {}),
    ...(isOtherNode || isOtherJob ? { ...NO_ROW, ...NO_OTHER } : {}),
    ...(part.worker || part.queue || part.failure ? { ...NO_ROW, ...NO_OTHER, open: "" } : {}),
    ...part,
  };
}
