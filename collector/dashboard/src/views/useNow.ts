/** The passing of time for components; one timer serves all of them. */
import { useCallback, useSyncExternalStore } from "react";
import type { MonitoringFeed } from "./useMonitoringFeed";

const listeners = new Set<() => void>();
let secondTimer: ReturnType<typeof setInterval> | null = null;

/** Call `listener` every second; returns how to stop. */
function onSecond(listener: () => void): () => void {
  listeners.add(listener);
  secondTimer ??= setInterval(() => {
    for (const notify of listeners) notify();
  }, 1000);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0 && secondTimer !== null) {
      clearInterval(secondTimer);
      secondTimer = null;
    }
  };
}

/**
 * The collector's time in whole seconds, updated every second; stands still while the page is
 * paused, and while nothing is heard from the collector.
 */
export function useNow(feed: MonitoringFeed): number {
  const { store } = feed;
  const subscribe = useCallback(
    (listener: () => void) => {
      // Also when the page is paused, or the second since the last update would be added
      // afterwards.
      const stops = [onSecond(listener), store.subscribeConnection(listener)];
      return () => {
        for (const stop of stops) stop();
      };
    },
    [store],
  );
  return useSyncExternalStore(
    subscribe,
    () => Math.floor(store.now() / 1000) * 1000,
    () => 0,
  );
}

/** This browser's time in whole seconds since the Unix epoch, updated every second. */
export function useSeconds(): number {
  return useSyncExternalStore(
    onSecond,
    () => Math.floor(Date.now() / 1000),
    () => 0,
  );
}
