/** What is shown, in the address bar: a link reproduces the view. */
import { useCallback, useEffect, useState } from "react";

export interface ViewState {
  /** Filtered by the collector. */
  project: string;
  /** Research task that cards, events and failures are narrowed to. */
  task: string;
  /** Research task in the waterfall; empty: the latest that runs. */
  focus: string;
  /** Job type or phase. */
  type: string;
  status: string;
  text: string;
  /** "1": heartbeats, depths and statistics are in the table too. */
  all: string;
  /** Tab beside the events: `failures` or `workers`. */
  tab: string;
  /** "1": held still. */
  paused: string;
}

export const EMPTY_VIEW: ViewState = {
  project: "",
  task: "",
  focus: "",
  type: "",
  status: "",
  text: "",
  all: "",
  tab: "",
  paused: "",
};

const NAMES: Record<keyof ViewState, string> = {
  project: "project",
  task: "task",
  focus: "focus",
  type: "type",
  status: "status",
  text: "q",
  all: "all",
  tab: "tab",
  paused: "paused",
};

export function readView(search: string): ViewState {
  const params = new URLSearchParams(search);
  const view = { ...EMPTY_VIEW };
  for (const key of Object.keys(NAMES) as (keyof ViewState)[]) {
    view[key] = (params.get(NAMES[key]) ?? "").slice(0, 512);
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

export type ChangeView = (change: Partial<ViewState>) => void;

/** The view, kept in the address bar; the browser's Back button leaves the page as ever. */
export function useViewState(): [ViewState, ChangeView] {
  const [view, setView] = useState<ViewState>(() =>
    typeof window === "undefined" ? EMPTY_VIEW : readView(window.location.search),
  );
  useEffect(() => {
    const query = writeView(view, window.location.search);
    if (query !== window.location.search) {
      window.history.replaceState(null, "", window.location.pathname + query + window.location.hash);
    }
  }, [view]);
  const change = useCallback<ChangeView>((part) => setView((old) => ({ ...old, ...part })), []);
  return [view, change];
}
