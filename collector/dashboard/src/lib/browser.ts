/** Small hooks over the browser: media queries, theme, stored preferences, clipboard. */
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from "react";

/** Whether a CSS media query matches; false on the server. */
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

/** The theme, and a function that switches to the next one: system, light, dark. */
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

/** Keep a preference in this browser; null removes it. */
export function storePreference(key: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // Storage is blocked or full: the preference lasts as long as the page.
  }
}

/** A preference of this browser; null when there is none, or storage is blocked. */
export function readPreference(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/** Whether text was copied in the last two seconds, and a function that copies text. */
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
    // Pages over plain http have no clipboard API, except on localhost; copying a selection still
    // works.
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
