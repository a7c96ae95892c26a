/** Which row a search for a failure, a time or a job finds. Pure. */
import type { AttemptRow, TreeRow } from "../views/view-types";

/** The rows of a filtered window that no other row of it lies below: not only the way to one. */
function ends(rows: readonly TreeRow[]): TreeRow[] {
  return rows.filter((row, index) => (rows[index + 1]?.depth ?? 0) <= row.depth);
}

/**
 * The failure after (`step` 1) or before (-1) a row, in a window of the tree's failed rows.
 *
 * A failed row with a failed one below is passed over: the lower one is the cause. Returns null if
 * there is none in that direction. Without `from`, or if the window does not have it, counting
 * starts at the window's edge.
 */
export function failureFrom(
  rows: readonly TreeRow[],
  from: string | null,
  step: 1 | -1,
): TreeRow | null {
  const found = from === null ? -1 : rows.findIndex((row) => row.k === from);
  const part = step === 1 ? rows.slice(found + 1) : rows.slice(0, found < 0 ? rows.length : found);
  // What lies above `from` comes before it, but is no failure of its own.
  const causes = step === 1 ? ends(part) : ends(rows).filter((row) => part.includes(row));
  return (step === 1 ? causes[0] : causes.at(-1)) ?? null;
}

/** The row that a click on the strip means: the first that ended in that time, else the first. */
export function rowEndedIn(rows: readonly TreeRow[], from: number, to: number): TreeRow | null {
  const candidates = ends(rows);
  const isIn = (row: TreeRow) => row.end !== null && row.end >= from && row.end < to;
  return candidates.find(isIn) ?? candidates[0] ?? null;
}

/** The key of a job's newest attempt; null without attempts. */
export function newestAttempt(attempts: readonly AttemptRow[]): string | null {
  let newest: AttemptRow | undefined;
  for (const row of attempts) {
    if (newest === undefined || row.run > newest.run) newest = row;
    else if (row.run === newest.run && row.attempt >= newest.attempt) newest = row;
  }
  return newest?.k ?? null;
}
