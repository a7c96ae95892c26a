/** Log lines of a row: what is dropped between them, and why there are none. Pure. */
import { count } from "../../lib/format";
import type { LineRow, LinesHead } from "../../views/view-types";

/** A line, or how many lines are missing in its place. */
export type ShownLine =
  | { kind: "line"; key: string; line: LineRow }
  | { kind: "gap"; key: string; text: string };

/** Lines of a row stay so long after its end, ms: of a failed one, and of any other. */
const KEPT_FAILED_MS = 86_400_000;
const KEPT_MS = 900_000;

/**
 * The lines with the gaps between them: numbers count dropped lines too, so what is missing between
 * two is how many were dropped. With a text only the lines that have it, in any case, without gaps.
 */
export function shownLines(head: LinesHead, rows: readonly LineRow[], text: string): ShownLine[] {
  if (text) {
    const part = text.toLowerCase();
    return rows
      .filter(({ text, logger }) => `${logger} ${text}`.toLowerCase().includes(part))
      .map((line) => ({ kind: "line", key: line.k, line }));
  }
  const shown: ShownLine[] = [];
  let last: number | null = null;
  for (const line of rows) {
    const missing = line.n - (last ?? 0) - 1;
    if (missing > 0) {
      const why = last === null ? "no longer kept" : "dropped";
      shown.push({ kind: "gap", key: `before ${line.k}`, text: linesText(missing, why) });
    }
    shown.push({ kind: "line", key: line.k, line });
    last = line.n;
  }
  const missing = head.last - (last ?? head.last);
  if (missing > 0) shown.push({ kind: "gap", key: "end", text: linesText(missing, "dropped") });
  return shown;
}

/** `106,950 lines dropped`. */
function linesText(lines: number, why: string): string {
  const number = lines.toLocaleString("en-US");
  return lines === 1 ? `1 line ${why}` : `${number} lines ${why}`;
}

/** The heading's note: how many lines are shown of how many. */
export function countText(head: LinesHead, shown: number, isSearched: boolean): string {
  if (isSearched) return shown === 1 ? "1 line has it" : `${count(shown)} lines have it`;
  if (head.total !== null && head.total > shown)
    return `newest ${count(shown)} of ${count(head.total)}`;
  return count(shown);
}

/** What the level of a line is called: that of `logging`, or the next lower one. */
export function levelWord(level: number): "debug" | "info" | "warning" | "error" | "critical" {
  if (level >= 50) return "critical";
  if (level >= 40) return "error";
  if (level >= 30) return "warning";
  return level >= 20 ? "info" : "debug";
}

/** The lines as text to copy, one below the other. */
export function copiedText(lines: readonly ShownLine[]): string {
  return lines
    .map((one) => {
      if (one.kind === "gap") return `-- ${one.text} --`;
      const { at, level, logger, text } = one.line;
      return `${new Date(at).toISOString()} ${levelWord(level).toUpperCase()} ${logger}: ${text}`;
    })
    .join("\n");
}

/** Why no line is shown, in one or two sentences. */
export function whyNone(
  view: { status: string; why: string | null; head: LinesHead | null },
  row: { status: string; end: number | null },
  now: number,
): string {
  const { status, why, head } = view;
  if (status === "refused")
    return why?.includes("rights=lines")
      ? "You may not read log lines: your token needs rights=lines or projects=*."
      : `The collector does not show the lines: ${why}`;
  if (status === "gone") return "The lines of what has left the collector's memory are not shown.";
  if (head === null || head.state === "reading") return "Asking for the lines…";
  if (head.state === "unreachable") return "The collector cannot read the lines at present.";
  if (head.total !== null && head.total > 0)
    return `${linesText(head.total, "were written, and none is kept.")}`;
  const source =
    "Lines come from processes that run with MONITORING_LOGS=info, which is off by default.";
  if (row.end === null) return `None yet. ${source}`;
  const kept = row.status === "failed" ? KEPT_FAILED_MS : KEPT_MS;
  if (row.end !== null && now - row.end > kept)
    return `If there were any, they are no longer kept: lines stay for ${
      row.status === "failed" ? "a day after a failure" : "15 minutes after the end"
    }.`;
  return `It wrote none, or none were sent. ${source}`;
}
