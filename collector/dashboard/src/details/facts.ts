/** What the details of a job or row say. Pure; times in milliseconds. */
import { dateTime, duration, elapsed, reasonText, STATUS_LABELS, timeOfDayMs } from "../lib/format";
import { isToday } from "../names/days";
import { slowText } from "../names/outcome";
import { newestAttempt } from "../tree/seek";
import type { AttemptRow, TreeRow, WorkerRow } from "../views/view-types";

/** One line of a list of facts: its name, its text, and the text of its tooltip. */
export interface Fact {
  name: string;
  text: string;
  title?: string;
  /** What a click on the text does; default: it is no button. */
  onClick?: () => void;
  /** Shown instead of `text`: several texts, each of which may be a button. */
  links?: readonly { text: string; title?: string; onClick?: () => void }[];
}

/** How a worker is, in words. */
export const LIVES: Readonly<Record<WorkerRow["status"], string>> = {
  online: "online",
  offline: "lost: its heartbeats ended",
  stopped: "stopped",
  unknown: "not known: it sends no heartbeats",
};

/** What an attempt and a row of the tree have in common. */
type Timed = Pick<AttemptRow, "status" | "why" | "queued" | "start" | "end" | "ended_by">;

/**
 * The attempt to show: the one with this key; else the newest of the run; else the newest of all.
 * Null without attempts, and if the named one is not among them.
 */
export function shownAttempt(
  rows: readonly AttemptRow[],
  key: string,
  run: number | null,
): AttemptRow | null {
  const shown = key || newestAttempt(run === null ? rows : rows.filter((row) => row.run === run));
  return rows.find((row) => row.k === shown) ?? null;
}

/** The label of an attempt's tab: `try 2`; `run 3, try 2` where the job was enqueued again. */
export function attemptLabel(row: AttemptRow, runs: number): string {
  const attempt = row.kind === "enqueue" ? "queued" : `try ${row.attempt + 1}`;
  return runs > 1 ? `run ${row.run}, ${attempt}` : attempt;
}

/** The status in words, with the reason: `stalled: its worker is lost`. */
export function statusText(row: Timed): string {
  const label = STATUS_LABELS[row.status];
  return row.why === null ? label : `${label}: ${reasonText(row.why)}`;
}

const ENDED_BY: Readonly<Record<string, string>> = {
  other: "another process of its framework",
  rule: "a rule of the collector, not the program itself",
  snapshot: "a snapshot, which is not its final word",
};

/** When it waited and ran. What is not known is left out, never shown as 0. */
export function timeFacts(row: Timed, now: number): Fact[] {
  const { queued, start, end } = row;
  const facts: Fact[] = [];
  if (queued !== null && start !== null && start >= queued)
    facts.push({ name: "Waited", text: duration(start - queued) });
  if (start === null && queued !== null) {
    const text = end === null ? elapsed(now - queued) : duration(end - queued);
    facts.push({ name: end === null ? "Waiting for" : "Waited", text });
  }
  if (start !== null)
    facts.push(
      end === null
        ? { name: "Running for", text: elapsed(now - start) }
        : { name: ranLabel(row), text: duration(end - start) },
    );
  if (queued !== null) facts.push(moment("Queued", queued, now));
  if (start !== null) facts.push(moment("Started", start, now));
  if (end !== null) facts.push(moment(row.status === "stalled" ? "Last heard" : "Ended", end, now));
  const reporter = row.ended_by === null ? undefined : ENDED_BY[row.ended_by];
  if (reporter !== undefined) facts.push({ name: "End reported by", text: reporter });
  return facts;
}

/** What lies between start and end: what a rule ended may have stopped long before. */
function ranLabel({ status, ended_by }: Timed): string {
  if (status === "stalled") return "Last heard after";
  return ended_by === "rule" ? "Ran at most" : "Ran";
}

/** How much longer than its siblings it takes: `4.2× as long`; none if it does not. */
export function slowFacts({ slow }: { slow: number | null }): Fact[] {
  if (slow === null) return [];
  return [
    {
      name: "Slow",
      text: `${slowText(slow)} as long as its siblings`,
      title: "Against the median of the completed jobs of its type in the same task",
    },
  ];
}

/** A moment: the time of today, else with its date. */
export function moment(name: string, at: number, now: number): Fact {
  return { name, text: isToday(at, now) ? timeOfDayMs(at) : dateTime(at), title: dateTime(at) };
}

/** The jobs below a row by status, those that there are: `12 done`, `3 failed`. */
export function jobCounts(row: TreeRow): { status: TreeRow["status"]; jobs: number }[] {
  return (
    [
      { status: "failed", jobs: row.failed },
      { status: "stalled", jobs: row.stalled },
      { status: "processing", jobs: row.running },
      { status: "pending", jobs: row.pending },
      { status: "completed", jobs: row.done },
    ] as const
  ).filter(({ jobs }) => jobs > 0);
}

/**
 * The process that ran an attempt: of several lives of one worker the one that had started by then.
 * Null if it is not known, or no longer listed.
 */
export function workerOf(attempt: AttemptRow, workers: readonly WorkerRow[]): WorkerRow | null {
  let found: WorkerRow | null = null;
  for (const worker of workers) {
    if (worker.id !== attempt.worker) continue;
    if (attempt.host !== null && worker.host !== null && worker.host !== attempt.host) continue;
    if (worker.start !== null && attempt.start !== null && worker.start > attempt.start) continue;
    if (found === null || (worker.start ?? 0) > (found.start ?? 0)) found = worker;
  }
  return found;
}
