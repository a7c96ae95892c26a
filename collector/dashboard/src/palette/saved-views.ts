/** Views of the page that were saved under a name: in this browser, as parts of its address. */
import { useCallback, useState } from "react";
import { readPreference, storePreference } from "../lib/browser";

const KEY = "otel-bridge-views";
/** Views that are kept; the oldest leave. */
const MAX_VIEWS = 50;
const MAX_NAME_CHARS = 80;

export interface SavedView {
  name: string;
  /** The query string of the address. */
  query: string;
}

/** The views in a stored text, without what is none. */
export function readViews(stored: string | null): readonly SavedView[] {
  try {
    const views: unknown = JSON.parse(stored ?? "[]");
    return Array.isArray(views) ? views.filter(isView).slice(-MAX_VIEWS) : [];
  } catch {
    return [];
  }
}

function isView(view: unknown): view is SavedView {
  const { name, query } = (view ?? {}) as Record<string, unknown>;
  return typeof name === "string" && name !== "" && typeof query === "string";
}

/** The views with one more, in place of one of the same name. */
export function withView(views: readonly SavedView[], name: string, query: string) {
  const short = name.trim().slice(0, MAX_NAME_CHARS);
  const others = views.filter((view) => view.name !== short);
  return short === "" ? views : [...others, { name: short, query }].slice(-MAX_VIEWS);
}

export interface SavedViews {
  views: readonly SavedView[];
  save: (name: string, query: string) => void;
  remove: (name: string) => void;
}

/** The saved views, read again whenever the component is mounted: another tab may save some too. */
export function useSavedViews(): SavedViews {
  const [views, setViews] = useState(() => readViews(readPreference(KEY)));
  const change = useCallback((to: (old: readonly SavedView[]) => readonly SavedView[]) => {
    const next = to(readViews(readPreference(KEY)));
    storePreference(KEY, next.length === 0 ? null : JSON.stringify(next));
    setViews(next);
  }, []);
  return {
    views,
    save: (name, query) => change((old) => withView(old, name, query)),
    remove: (name) => change((old) => old.filter((view) => view.name !== name)),
  };
}
