/** What is shown, in the address bar: a link reproduces the view. */
import { useCallback, useEffect, useRef, useState } from "react";

/** A held-down `j` chooses 30 events a second; browsers refuse more than some 20 addresses a second. */
const STEP_INTERVAL_MS = 100;
export const MAX_PART_CHARS = 512;

export interface ViewState {
  /** Filtered by the collector. */
  project: string;
  /** Research task that cards, events and failures are narrowed to. */
  task: string;
  /** Research task in the waterfall; empty: the latest that runs. */
  focus: string;
  /** Stretch of time in the waterfall, `from-to` in seconds from the task's start; empty: all of it. */
  zoom: string;
  /** Phases folded and unfolded in the waterfall, see `folded-phases.ts`. */
  folds: string;
  /** Event whose details are open. */
  event: string;
  /** Job type or phase. */
  type: string;
  status: string;
  text: string;
  /** "1": heartbeats, depths and statistics are in the table too. */
  all: string;
  /** Tab beside the events: `failures` or `workers`. */
  tab: string;
  /** What a narrow page shows: `tasks`, `events` or `failures`. */
  section: string;
  /** "1": held still. */
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

export function readView(search: string): ViewState {
  const params = new URLSearchParams(search);
  const view = { ...EMPTY_VIEW };
  for (const key of Object.keys(NAMES) as (keyof ViewState)[]) {
    view[key] = (params.get(NAMES[key]) ?? "").slice(0, MAX_PART_CHARS);
  }
  return view;
}

/** The query for a view; empty parts and foreign parameters: left out and kept. */
export function writeView(view: ViewState, search: string): string {
  const params = new URLSearchParams(search);
  for (const key of Object.keys(NAMES) as (keyof ViewState)[]) {
    if (view[key]) params.set(NAMES[key], view[key]);
    else params.delete(NAMES[key]);
  }
  const query = params.toString();
  return query ? `?${query}` : "";
}

/** The page's address with a view in it. */
export function linkTo(view: ViewState): string {
  const { origin, pathname, search, hash } = window.location;
  return origin + pathname + writeView(view, search) + hash;
}

export type ChangeView = (change: Partial<ViewState>) => void;

/** The view, kept in the address bar; the browser's Back button leaves the page as ever. */
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
    const isStep =
      writeView({ ...view, event: "" }, "") === writeView({ ...last.view, event: "" }, "");
    const waitMs = isStep ? last.at + STEP_INTERVAL_MS - performance.now() : 0;
    if (waitMs <= 0) {
      write();
      return;
    }
    const timer = setTimeout(write, waitMs);
    return () => clearTimeout(timer);
  }, [view]);
  const change = useCallback<ChangeView>((part) => setView((old) => changed(old, part)), []);
  return [view, change];
}

/** A stretch and folds are those of one research task. */
export function changed(old: ViewState, part: Partial<ViewState>): ViewState {
  const isOther = part.focus !== undefined && part.focus !== old.focus;
  return { ...old, ...(isOther ? { zoom: "", folds: "" } : {}), ...part };
}
