/** The list of tasks: rows or cards, the heads of its groups, why a task needs attention. Pure. */
import type { Status } from "../feed/wire";
import { count, reasonText, STATUS_LABELS } from "../lib/format";
import type { TaskRow, TasksHead } from "../views/view-types";

/** What the list can be grouped by. */
export type Grouping = "project" | "status";

/** The grouping that a text of the address names; any other text: none. */
export function readGrouping(text: string): Grouping | null {
  return text === "project" || text === "status" ? text : null;
}

/** From so many tasks on the list has rows: 2.4 cards fit beside a waterfall at 1280 x 800. */
const ROWS_FROM = 8;
/** Rows become cards again at so few, so that a task that comes and goes does not change all. */
const CARDS_TO = 5;

/** Whether tasks are drawn as rows: as the address says, else by how many there are. */
export function isDense(layout: string, count: number, wasDense: boolean): boolean {
  if (layout === "rows" || layout === "cards") return layout === "rows";
  return count >= ROWS_FROM || (wasDense && count > CARDS_TO);
}

/** Rows of the list that follow each other below one head. */
export interface Section {
  name: string;
  /** Number of its first row in the whole list. */
  start: number;
  count: number;
}

/** The sections of a list; none where nothing is pinned or grouped. */
export function sectionsOf(head: TasksHead, grouping: Grouping | null): readonly Section[] {
  const sections: Section[] = [];
  let start = 0;
  const add = (name: string, count: number) => {
    if (count > 0) sections.push({ name, start, count });
    start += count;
  };
  add("Pinned", head.pinned);
  for (const { name, count } of head.groups ?? []) {
    if (grouping === "status") add(STATUS_LABELS[name as Status] ?? name, count);
    else add(name ?? "No project", count);
  }
  // Without groups the rest; with more groups than the collector names, those of the others.
  if (sections.length > 0) add(head.groups === null ? "Other tasks" : "Others", head.total - start);
  return sections;
}

/** The section of the row with this number. */
export function sectionAt(sections: readonly Section[], row: number): Section | undefined {
  return sections.findLast((section) => section.start <= row);
}

/** Short, for a row has 90 px for them. */
const SHORT_REASONS: Readonly<Record<string, string>> = {
  worker_lost: "worker lost",
  queue_stuck: "queue stuck",
  jobs_slow: "slow jobs",
};

/** Why a task needs attention, in words: `1 job stalled`. */
export function whyText(why: string, task: Pick<TaskRow, "failed" | "stalled">): string {
  if (why === "jobs_failed" && task.failed > 0) return `${jobs(task.failed)} failed`;
  if (why === "jobs_stalled" && task.stalled > 0) return `${jobs(task.stalled)} stalled`;
  return SHORT_REASONS[why] ?? reasonText(why);
}

function jobs(number: number): string {
  return `${count(number)} ${number === 1 ? "job" : "jobs"}`;
}
