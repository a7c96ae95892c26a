/** The research task in the waterfall, and its older bars. */
import { useEffect, useRef } from "react";
import { backfill, needsBackfill } from "./backfill";
import type { FeedStore } from "../feed/feed-store";
import type { CardView } from "./views";

/** Which task the waterfall shows: the one asked for, else one that runs; it stays until it ends. */
export function useFocus(cards: readonly CardView[], asked: string): string | null {
  const current = useRef<string | null>(null);
  if (asked && cards.some((card) => card.taskId === asked)) return asked;
  const held = cards.find((card) => card.taskId === current.current);
  const running = cards.find((card) => card.endedAt === null);
  const next = held && (held.endedAt === null || !running) ? held : (running ?? held ?? cards[0]);
  current.current = next?.taskId ?? null;
  return current.current;
}

/** Fetch a large task's older bars once it is looked at. */
export function useBackfill(
  store: FeedStore,
  focus: string | null,
  baseUrl: string | undefined,
  isLoaded: boolean,
): void {
  useEffect(() => {
    if (focus === null || !isLoaded || !needsBackfill(store.get("spans").spans.length)) return;
    const abort = new AbortController();
    backfill(store, focus, baseUrl ?? document.baseURI, abort.signal).catch(() => {
      // The bars stay as few as they are; the connection badge says what is wrong.
    });
    return () => abort.abort();
  }, [store, focus, baseUrl, isLoaded]);
}
