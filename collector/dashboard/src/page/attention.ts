/** What the header says of the work: a sentence whose parts lead to their details. Pure. */
import type { Status } from "../feed/wire";
import { count, queueLabel, roughly, shortJob } from "../lib/format";
import type { ViewState } from "../lib/url-state";
import { truncateMiddle } from "../names/names";
import type { Attention, OverviewHead, QueueRow } from "../views/view-types";

/** The sentence's part for one kind of trouble. */
export interface Part {
  kind: Attention["kind"];
  /** The status whose icon and colour it has. */
  status: Status;
  text: string;
  /** What it leads to. */
  to: Partial<ViewState>;
}

const STATUS_OF: Record<Attention["kind"], Status> = {
  task_stalled: "stalled",
  worker_lost: "failed",
  queue_stuck: "stalled",
  task_failing: "failed",
  slow_job: "retrying",
};
const STUCK: Record<NonNullable<QueueRow["stuck"]>, string> = {
  no_workers: "no worker takes from it",
  not_taken: "its workers take no job",
};
/** Longer names are truncated in the middle, for names of one kind differ at both ends. */
const MAX_NAME_CHARS = 32;
/** A tab has room for so many parts. */
const TITLE_PARTS = 2;

/** The signs of trouble; null: this collector does not report them. */
export function troublesOf(head: OverviewHead | null): readonly Attention[] | null {
  // A collector of the release before has no such field.
  return (head?.attention as readonly Attention[] | undefined) ?? null;
}

/** How many tasks run: `3 running`; null before the first answer. */
export function runningText(head: OverviewHead | null): string | null {
  if (head === null) return null;
  const { processing = 0, retrying = 0 } = head.tasks;
  return processing + retrying > 0 ? `${count(processing + retrying)} running` : "nothing runs";
}

/** A part for each sign of trouble. `queues` say why those that are stuck are. */
export function partsOf(
  troubles: readonly Attention[],
  now: number,
  queues: readonly QueueRow[] = [],
): readonly Part[] {
  return troubles.map((trouble) => ({
    kind: trouble.kind,
    status: STATUS_OF[trouble.kind],
    text: textOf(trouble, now, queues),
    to: placeOf(trouble),
  }));
}

function textOf(trouble: Attention, now: number, queues: readonly QueueRow[]): string {
  const { kind, count: jobs, since, key, task } = trouble;
  const isQueue = kind === "queue_stuck";
  const name = truncateMiddle(
    isQueue ? queueLabel(trouble.name) : shortJob(trouble.name, task),
    MAX_NAME_CHARS,
  );
  const passed = since === null ? null : roughly(now - since);
  switch (kind) {
    case "task_stalled":
      return `${name} stalled${passed === null ? "" : `, last heard ${passed} ago`}`;
    case "worker_lost":
      return `worker ${name} lost${passed === null ? "" : ` ${passed} ago`}${
        jobs > 0 ? ` with ${plural(jobs, "job")}` : ""
      }`;
    case "queue_stuck": {
      const why = queues.find((queue) => queue.k === key)?.stuck;
      const said = why ? `: ${STUCK[why]}` : "";
      return `queue ${name} ${passed === null ? "is stuck" : `has waited ${passed}`}${said}`;
    }
    case "task_failing":
      return `${name}: ${count(jobs)} failed`;
    case "slow_job":
      return `${name}${jobs > 1 ? ` and ${count(jobs - 1)} more` : ""} far slower than others`;
  }
}

function placeOf({ kind, key, task }: Attention): Partial<ViewState> {
  switch (kind) {
    case "task_stalled":
      return { task: key };
    case "worker_lost":
      return { worker: key };
    case "queue_stuck":
      return { queue: key };
    case "task_failing":
      // Its failures are listed beside it.
      return { task: key, tab: "" };
    case "slow_job":
      return { task: task ?? "", node: key, open: "1" };
  }
}

function plural(number: number, noun: string): string {
  return `${count(number)} ${number === 1 ? noun : `${noun}s`}`;
}

/** The title of the browser's tab: `! 1 stalled, emails stuck · otel-bridge`. */
export function titleOf(head: OverviewHead | null, isLost: boolean): string {
  if (isLost) return "No connection · otel-bridge";
  const { processing = 0, retrying = 0, stalled = 0 } = head?.tasks ?? {};
  const troubles = troublesOf(head) ?? [];
  const running = processing + retrying;
  const isTrouble = troubles.length > 0;
  const texts = [
    ...troubleTexts(troubles, stalled),
    running > 0 && `${running} running`,
    !isTrouble && stalled > 0 && `${stalled} stalled`,
  ];
  const said = texts.filter(Boolean).slice(0, TITLE_PARTS).join(", ");
  return said ? `${isTrouble ? "! " : ""}${said} · otel-bridge` : "otel-bridge";
}

/** A short text for each kind of trouble, the most urgent kind first. */
function troubleTexts(troubles: readonly Attention[], stalled: number): readonly string[] {
  return [...new Set(troubles.map(({ kind }) => kind))].map((kind) => {
    const [first, ...others] = troubles.filter((trouble) => trouble.kind === kind);
    const number = others.length + 1;
    const isOne = number === 1 && first !== undefined;
    const texts: Record<Attention["kind"], string> = {
      task_stalled: `${Math.max(number, stalled)} stalled`,
      worker_lost: `${plural(number, "worker")} lost`,
      queue_stuck: isOne ? `${queueLabel(first.name)} stuck` : `${number} queues stuck`,
      task_failing: `${number} failing`,
      slow_job: `${number} slow`,
    };
    return texts[kind];
  });
}
