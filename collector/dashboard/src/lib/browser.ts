/** Small hooks over the browser: a shared clock, frames, media queries, theme, clipboard. */
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from "react";
import type { FeedStore } from "../feed/feed-store";

const seconds = new Set<() => void>();
let secondTimer: ReturnType<typeof setInterval> | null = null;

/** Every second, one timer for all; for "14 s ago". */
function onSecond(listener: () => void): () => void {
  seconds.add(listener);
  secondTimer ??= setInterval(() => {
    for (const each of seconds) each();
  }, 1000);
  return () => {
    seconds.delete(listener);
    if (seconds.size === 0 && secondTimer !== null) {
      clearInterval(secondTimer);
      secondTimer = null;
    }
  };
}

/** The collector's time, anew every second; stands still while paused. */
export function useNow(store: FeedStore): number {
  const subscribe = useCallback(
    (listener: () => void) => {
      // At the pause itself too: else the second that has begun since the last tick comes after it.
      const stops = [onSecond(listener), store.subscribe("hold", listener)];
      return () => stops.forEach((stop) => stop());
    },
    [store],
  );
  return useSyncExternalStore(
    subscribe,
    () => Math.floor(store.viewNow() / 1000) * 1000,
    () => 0,
  );
}

const frames = new Set<() => void>();
let isRunning = false;

function nextFrame(): void {
  for (const each of frames) each();
  if (frames.size > 0) requestAnimationFrame(nextFrame);
  else isRunning = false;
}

/** Every animation frame, one loop for all. */
export function onFrame(listener: () => void): () => void {
  frames.add(listener);
  if (!isRunning) {
    isRunning = true;
    requestAnimationFrame(nextFrame);
  }
  return () => frames.delete(listener);
}

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
      remember(THEME_KEY, chosen === "system" ? null : chosen);
      return chosen;
    });
  }, []);
  return [theme, next];
}

/** A preference of this browser; without storage it lasts as long as the page. */
export function remember(key: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // Storage is blocked or full; the choice still holds for this page.
  }
}

export function recall(key: string): string | null {
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
