/** What a row of the waterfall says and draws. Pure; times in milliseconds. */
import {
  count,
  dateTime,
  duration,
  elapsed,
  jobName,
  reasonText,
  shortId,
  timeOfDayMs,
  withSpaces,
} from "../lib/format";
import { isPartlyFailed, outcomeText, slowText } from "../names/outcome";
import type { TreeRow } from "../views/view-types";

/** Levels that are indented by a whole step; deeper ones by a third, so that names stay readable. */
const WHOLE_STEPS = 5;
const DEEPEST = 17;

/** How far a row is indented, in steps; at most nine. */
export function indentSteps(depth: number): number {
  return Math.min(depth, WHOLE_STEPS) + Math.max(0, Math.min(depth, DEEPEST) - WHOLE_STEPS) / 3;
}

/** The name shown for a row of the task with this id. */
export function rowName(row: TreeRow, task: string): string {
  switch (row.kind) {
    case "job":
    case "enqueue":
      return row.job === null ? withSpaces(row.name) : jobName(row.job, task, row.type);
    case "phase":
    case "span":
      // A span may turn out to be a phase or a job at its end: its name must not change then.
      return withSpaces(row.name);
    case "task":
      return row.name === task ? shortId(task) : withSpaces(row.name);
    case "more":
      return moreText(row.kids);
    default:
      return row.name;
  }
}

/** What is said of rows that the collector counted and no longer has. */
export function moreText(rows: number): string {
  if (rows === 1) return "1 earlier one is no longer in memory; the event log may have it";
  const number = rows.toLocaleString("en-US");
  return `${number} earlier ones are no longer in memory; the event log may have them`;
}

/** The number of a later run or attempt, `run 2, try 3`; empty for the first of both. */
export function attemptText(row: TreeRow): string {
  const parts: string[] = [];
  if (row.run !== null && row.run > 1) parts.push(`run ${row.run}`);
  if (row.attempt > 0) parts.push(`try ${row.attempt + 1}`);
  return parts.join(", ");
}

/** How many times as long as its siblings a row takes; null: not far longer, or not known. */
export function slowness(row: TreeRow): number | null {
  // A collector of the former release does not say.
  return (row as { slow?: number | null }).slow ?? null;
}

/** How long a row took or takes; what waits: for how long; a dash if that is not known. */
export function tookText(row: TreeRow, now: number): string {
  if (row.kind === "more") return "";
  const since = row.start ?? row.queued;
  if (since === null) return "–";
  return row.end === null ? elapsed(now - since) : duration(row.end - since);
}

/** Jobs below a row, `4/12` with how many have ended, as on the card; empty without any rows. */
export function jobsText(row: TreeRow): string {
  const ended = row.done + row.failed;
  const jobs = ended + row.running + row.pending + row.stalled;
  if (jobs === 0) return row.kids > 0 ? count(row.kids) : "";
  return ended === jobs ? count(jobs) : `${count(ended)}/${count(jobs)}`;
}

/** Part of the time of a row: where it is drawn, from the task's start; no end: it grows. */
export interface Bar {
  look: string;
  start: number;
  end: number | null;
}

/** The bars of a row, the wait in its queue first. */
export function rowBars(row: TreeRow, t0: number): Bar[] {
  if (row.kind === "more") return [];
  const at = (time: number) => time - t0;
  const end = row.end === null ? null : at(row.end);
  const bars: Bar[] = [];
  if (row.queued !== null && (row.start === null || row.start > row.queued)) {
    bars.push({
      look: "queued",
      start: at(row.queued),
      end: row.start === null ? end : at(row.start),
    });
  }
  const look = barLook(row);
  if (row.start !== null) bars.push({ look, start: at(row.start), end });
  else if (row.queued === null && end !== null) bars.push({ look, start: end, end });
  return bars;
}

/** The look of a bar: its status; of an end with failures how many of its jobs those were. */
function barLook(row: TreeRow): string {
  if (!isPartlyFailed(row.status, row.failed)) return row.status;
  return row.done === 0 ? "failed" : "partly";
}

/** What is known of a row, one fact a part, without its name and error. */
export function rowFacts(row: TreeRow, now: number): string[] {
  if (row.kind === "more") return [];
  const facts: string[] = [outcomeText(row.status, row.failed)];
  if (row.why !== null) facts[0] += `: ${reasonText(row.why)}`;
  if (row.queued !== null && row.start !== null && row.start > row.queued)
    facts.push(`waited ${duration(row.start - row.queued)}`);
  if (row.start === null && row.queued !== null) facts.push(`waits for ${tookText(row, now)}`);
  else if (row.end === null) facts.push(`runs for ${tookText(row, now)}`);
  else facts.push(`ran ${tookText(row, now)}`);
  const slow = slowness(row);
  if (slow !== null) facts.push(`${slowText(slow)} as long as the median of its siblings`);
  const attempt = attemptText(row);
  if (attempt) facts.push(attempt);
  if (row.type !== null) facts.push(withSpaces(row.type));
  if (row.worker !== null) facts.push(`worker ${row.worker}`);
  const since = row.start ?? row.queued;
  if (since !== null) facts.push(`${row.start === null ? "queued" : "from"} ${dateTime(since)}`);
  if (row.end !== null)
    facts.push(`to ${isSameDay(since, row.end) ? timeOfDayMs(row.end) : dateTime(row.end)}`);
  return facts;
}

function isSameDay(one: number | null, other: number): boolean {
  return one !== null && new Date(one).toDateString() === new Date(other).toDateString();
}

/** The rows above one of the window, the nearest first; `path` are those above the window. */
export function rowsAbove(
  rows: readonly TreeRow[],
  index: number,
  path: readonly TreeRow[],
): TreeRow[] {
  let depth = rows[index]?.depth ?? 0;
  const above: TreeRow[] = [];
  const note = (row: TreeRow) => {
    if (row.depth >= depth) return;
    depth = row.depth;
    above.push(row);
  };
  for (let at = index - 1; at >= 0 && depth > 0; at--) note(rows[at] as TreeRow);
  for (const row of [...path].reverse()) note(row);
  return above;
}

/** Which of its siblings a row is, from 1, and how many there are. */
export interface SiblingPlace {
  position: number;
  size: number;
}

/**
 * The place of each row of a window among its siblings; null where the row above is not in the
 * window, so that it is not known.
 */
export function siblingPlaces(rows: readonly TreeRow[]): (SiblingPlace | null)[] {
  const above: { row: TreeRow; seen: number }[] = [];
  return rows.map((row) => {
    while ((above.at(-1)?.row.depth ?? -1) >= row.depth) above.pop();
    const parent = above.at(-1);
    above.push({ row, seen: 0 });
    if (parent === undefined || parent.row.depth !== row.depth - 1) return null;
    // The rows that are no longer in memory count among the siblings of the ones that are.
    parent.seen += row.kind === "more" ? row.kids : 1;
    return row.kind === "more" ? null : { position: parent.seen, size: parent.row.kids };
  });
}
