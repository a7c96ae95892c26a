/** Searches for a row of a task: by its key, its job, a time, or as the next failure. */
import { useCallback, useEffect, useRef, useState } from "react";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useView } from "../views/useView";
import type { ViewSnapshot } from "../views/view-store";
import type { TreeParams, TreeRow } from "../views/view-types";
import { failureFrom, newestAttempt, rowEndedIn } from "./seek";

/** More failed rows than lie above one: a tree is at most 64 levels deep. */
const SEARCH_ROWS = 100;

/** What is searched for; a job: its newest attempt. Times in ms since the Unix epoch. */
export type Seek =
  | { kind: "row"; key: string }
  | { kind: "job"; job: string }
  | { kind: "failure"; from: string | null; step: 1 | -1; isAgain?: boolean }
  | { kind: "time"; from: number; to: number; isFailed: boolean };

/** Filters of the tree that a search for a failure or a time keeps to. */
export type SeekFilter = Pick<TreeParams, "zoom" | "type" | "text">;

export interface SeekAnswer {
  seek: Seek;
  /** The row's key, and the rows above it, the task's first; null: there is no such row. */
  found: { key: string; above: readonly TreeRow[] } | null;
  /** Whether a search for a failure has started again from the other end. */
  isAgain: boolean;
}

/**
 * Returns: a function that starts a search, and ends the one before; null ends it only. `onAnswer`
 * is called once for each search that was not ended.
 */
export function useSeek(
  feed: MonitoringFeed,
  task: string,
  filter: SeekFilter,
  onAnswer: (answer: SeekAnswer) => void,
): (seek: Seek | null) => void {
  const [seek, setSeek] = useState<Seek | null>(null);
  const origin = useRef<{ seek: Seek; isAgain: boolean } | null>(null);
  const latest = useRef(onAnswer);
  latest.current = onAnswer;
  const job = useView(feed, "job", seek?.kind === "job" ? { task, job: seek.job } : null);
  const list = useView(feed, "tree", listParams(seek, task, filter));
  const row = useView(
    feed,
    "tree",
    seek?.kind === "row" ? { task, at: { key: seek.key }, count: 1 } : null,
  );

  useEffect(() => {
    if (seek === null || origin.current === null) return;
    const finish = (found: SeekAnswer["found"]) => {
      const { seek, isAgain } = origin.current as { seek: Seek; isAgain: boolean };
      origin.current = null;
      setSeek(null);
      latest.current({ seek, found, isAgain });
    };
    const goOn = (key: string | null | undefined) => {
      if (key === null || key === undefined) finish(null);
      else setSeek({ kind: "row", key });
    };
    switch (seek.kind) {
      case "job":
        if (isAnswered(job)) goOn(newestAttempt(job.rows));
        break;
      case "time":
        if (isAnswered(list)) goOn(rowEndedIn(list.rows, seek.from, seek.to)?.k);
        break;
      case "failure": {
        if (!isAnswered(list)) break;
        const next = failureFrom(list.rows, seek.from, seek.step);
        if (next !== null || seek.from === null) goOn(next?.k);
        else {
          origin.current.isAgain = true;
          setSeek({ ...seek, from: null });
        }
        break;
      }
      case "row":
        if (!isAnswered(row)) break;
        if (row.rows[0]?.k !== seek.key) finish(null);
        else finish({ key: seek.key, above: row.head?.path ?? [] });
        break;
    }
  }, [seek, job, list, row]);

  return useCallback((next: Seek | null) => {
    origin.current = next && { seek: next, isAgain: false };
    setSeek(next);
  }, []);
}

function isAnswered(view: ViewSnapshot): boolean {
  if (view.status === "gone" || view.status === "refused") return true;
  return view.head !== null && !view.isRefreshing;
}

function listParams(seek: Seek | null, task: string, filter: SeekFilter): TreeParams | null {
  if (seek?.kind === "failure") {
    const { from, step } = seek;
    const isForward = step === 1;
    const edge = isForward ? ({ row: 0 } as const) : "end";
    const at = from === null ? edge : { key: from, above: isForward ? 0 : SEARCH_ROWS - 1 };
    return { ...filter, task, at, count: SEARCH_ROWS, status: ["failed"] };
  }
  if (seek?.kind === "time") {
    const zoom = [Math.floor(seek.from), Math.ceil(seek.to)] as const;
    const status = seek.isFailed ? (["failed"] as const) : null;
    return { task, at: { row: 0 }, count: SEARCH_ROWS, zoom, status };
  }
  return null;
}
