/** Small hooks over the browser: media queries, theme, stored preferences, clipboard. */
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from "react";

export function useMedia(query: string): boolean {
  const subscribe = useCallback(
    (listener: () => void) => {
      const media = window.matchMedia(query);
      media.addEventListener("change", listener);
      return () => media.removeEventListener("change", listener);
    },
    [query],
  );
  return useSyncExternalStore(
    subscribe,
    () => window.matchMedia(query).matches,
    () => false,
  );
}

export type Theme = "system" | "light" | "dark";
const THEME_KEY = "otel-bridge-theme";

/** The chosen theme and how to choose the next: system, light, dark. */
export function useTheme(): [Theme, () => void] {
  const [theme, setTheme] = useState<Theme>("system");
  useEffect(() => {
    const chosen = document.documentElement.dataset["theme"];
    if (chosen === "light" || chosen === "dark") setTheme(chosen);
  }, []);
  const next = useCallback(() => {
    setTheme((old) => {
      const chosen = old === "system" ? "light" : old === "light" ? "dark" : "system";
      if (chosen === "system") delete document.documentElement.dataset["theme"];
      else document.documentElement.dataset["theme"] = chosen;
      storePreference(THEME_KEY, chosen === "system" ? null : chosen);
      return chosen;
    });
  }, []);
  return [theme, next];
}

/** A preference of this browser; without storage it lasts as long as the page. */
export function storePreference(key: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // Storage is blocked or full; the choice still holds for this page.
  }
}

export function readPreference(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/** Copy text; true for two seconds after it worked. */
export function useCopy(): [boolean, (text: string) => void] {
  const [isCopied, setIsCopied] = useState(false);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = useCallback((text: string) => {
    copyText(text).then((isDone) => {
      if (!isDone) return;
      setIsCopied(true);
      clearTimeout(timer.current);
      timer.current = setTimeout(() => setIsCopied(false), 2000);
    });
  }, []);
  return [isCopied, copy];
}

async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Plain http on another host has no clipboard API; selecting and copying still works.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "offscreen";
    document.body.append(area);
    area.select();
    const isDone = document.execCommand("copy");
    area.remove();
    return isDone;
  }
}
