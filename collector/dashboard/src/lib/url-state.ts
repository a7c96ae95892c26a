/**
 * The state of the page in its URL: filters, selection and zoom, so that a link reproduces the
 * view.
 */
import { useCallback, useEffect, useRef, useState } from "react";

/**
 * Holding `j` selects 30 events a second; browsers refuse more than about 20 URL changes a second.
 */
const STEP_INTERVAL_MS = 100;
/** Longer values are truncated. */
export const MAX_PART_CHARS = 512;

export interface ViewState {
  /** Project whose events are received; the collector filters them. */
  project: string;
  /** Research task that cards, events and failures are filtered by. */
  task: string;
  /** Research task in the waterfall; empty: the newest one that runs. */
  focus: string;
  /** Zoom of the waterfall, `from-to` in seconds from the task's start; empty: the whole task. */
  zoom: string;
  /** Phases folded and unfolded in the waterfall, see `folded-phases.ts`. */
  folds: string;
  /** Event whose details are open. */
  event: string;
  /** Job type or phase. */
  type: string;
  status: string;
  text: string;
  /** "1": the table also shows heartbeats, queue depths and statistics. */
  all: string;
  /** Tab beside the event table: `failures` or `workers`. */
  tab: string;
  /** Section that a narrow page shows: `tasks`, `events` or `failures`. */
  section: string;
  /** "1": the page is paused. */
  paused: string;
}

export const EMPTY_VIEW: ViewState = {
  project: "",
  task: "",
  focus: "",
  zoom: "",
  folds: "",
  event: "",
  type: "",
  status: "",
  text: "",
  all: "",
  tab: "",
  section: "",
  paused: "",
};

/** Name of each part in the URL. */
const NAMES: Record<keyof ViewState, string> = {
  project: "project",
  task: "task",
  focus: "focus",
  zoom: "zoom",
  folds: "folds",
  event: "event",
  type: "type",
  status: "status",
  text: "q",
  all: "all",
  tab: "tab",
  section: "section",
  paused: "paused",
};

/** The view that a query string describes. */
export function readView(search: string): ViewState {
  const params = new URLSearchParams(search);
  const view = { ...EMPTY_VIEW };
  for (const key of Object.keys(NAMES) as (keyof ViewState)[]) {
    view[key] = (params.get(NAMES[key]) ?? "").slice(0, MAX_PART_CHARS);
  }
  return view;
}

/** The query string for a view: empty parts are left out, parameters of other software are kept. */
export function writeView(view: ViewState, search: string): string {
  const params = new URLSearchParams(search);
  for (const key of Object.keys(NAMES) as (keyof ViewState)[]) {
    if (view[key]) params.set(NAMES[key], view[key]);
    else params.delete(NAMES[key]);
  }
  const query = params.toString();
  return query ? `?${query}` : "";
}

/** The URL of the page with a view in it. */
export function linkTo(view: ViewState): string {
  const { origin, pathname, search, hash } = window.location;
  return origin + pathname + writeView(view, search) + hash;
}

export type ChangeView = (change: Partial<ViewState>) => void;

/**
 * The view and a function that changes it. The URL is replaced, so Back leaves the page as usual.
 */
export function useViewState(): [ViewState, ChangeView] {
  const [view, setView] = useState<ViewState>(() =>
    typeof window === "undefined" ? EMPTY_VIEW : readView(window.location.search),
  );
  const written = useRef({ view, at: Number.NEGATIVE_INFINITY });
  useEffect(() => {
    const write = () => {
      written.current = { view, at: performance.now() };
      const query = writeView(view, window.location.search);
      if (query === window.location.search) return;
      window.history.replaceState(
        null,
        "",
        window.location.pathname + query + window.location.hash,
      );
    };
    const last = written.current;
    const isOtherEventOnly =
      writeView({ ...view, event: "" }, "") === writeView({ ...last.view, event: "" }, "");
    const waitMs = isOtherEventOnly ? last.at + STEP_INTERVAL_MS - performance.now() : 0;
    if (waitMs <= 0) {
      write();
      return;
    }
    const timer = setTimeout(write, waitMs);
    return () => clearTimeout(timer);
  }, [view]);
  const change = useCallback<ChangeView>((part) => setView((old) => applyChange(old, part)), []);
  return [view, change];
}

/** The view after a change; zoom and folded phases belong to one task and are reset with it. */
export function applyChange(old: ViewState, part: Partial<ViewState>): ViewState {
  const isOtherTask = part.focus !== undefined && part.focus !== old.focus;
  return { ...old, ...(isOtherTask ? { zoom: "", folds: "" } : {}), ...part };
}
