/** Text for numbers, times, names and events. Pure; all times in milliseconds. */
import type { MonitoringEvent, Status } from "../feed/wire";
import { truncateMiddle } from "../names/names";
import type { Progress } from "../views/view-types";

/** `0.8 s`, `12.4 s`, `3m 05s`, `2h 10m`: at most seven characters. */
export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return "";
  if (ms <= 0) return "0 ms";
  if (ms < 0.05) return "<0.1 ms";
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  const sec = ms / 1000;
  if (sec < 60) return `${sec < 10 ? sec.toFixed(2) : sec.toFixed(1)} s`;
  const minutes = Math.floor(sec / 60);
  if (minutes < 60) return `${minutes}m ${pad(Math.floor(sec % 60))}s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours}h ${pad(minutes % 60)}m`;
  return `${Math.floor(hours / 24)}d ${hours % 24}h`;
}

/**
 * The duration of something that still runs: in whole seconds, so that it changes once a second.
 */
export function elapsed(ms: number): string {
  const sec = Math.max(0, Math.floor(ms / 1000));
  return sec < 60 ? `${sec}s` : duration(sec * 1000);
}

/** An estimate, rounded to how exact it is: `~40 s`, `~3 min`, `~2 h`. */
export function approximately(sec: number): string {
  if (sec < 10) return "<10 s";
  if (sec < 55) return `~${Math.ceil(sec / 5) * 5} s`;
  if (sec < 3300) return `~${Math.round(sec / 60)} min`;
  return `~${Math.round(sec / 360) / 10} h`;
}

/** How long ago a time was: `just now`, `14 s ago`, `3 h ago`; `never` for null. */
export function ago(thenMs: number | null, nowMs: number): string {
  if (thenMs === null) return "never";
  return nowMs - thenMs < 2000 ? "just now" : `${roughly(nowMs - thenMs)} ago`;
}

/** A time that has passed, in one unit: `14 s`, `3 min`, `2 h`, `5 d`. */
export function roughly(ms: number): string {
  const sec = Math.max(0, Math.floor(ms / 1000));
  if (sec < 60) return `${sec} s`;
  if (sec < 3600) return `${Math.floor(sec / 60)} min`;
  if (sec < 86_400) return `${Math.floor(sec / 3600)} h`;
  return `${Math.floor(sec / 86_400)} d`;
}

/** Local time of day with milliseconds: `12:04:05.123`. */
export function timeOfDayMs(ms: number): string {
  const date = new Date(ms);
  return `${timeOfDay(ms)}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

/** Local time of day: `12:04:05`. */
export function timeOfDay(ms: number): string {
  const date = new Date(ms);
  return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}

/** Local date and time, `2026-01-02 12:04:05.123`, for tooltips. */
export function dateTime(ms: number | null): string {
  if (ms === null) return "";
  const date = new Date(ms);
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  return `${day} ${timeOfDayMs(ms)}`;
}

/** A count: `7`, `1,234`, `12.3k`, `4.9M`. */
export function count(value: number): string {
  if (value < 10_000) return Math.round(value).toLocaleString("en-US");
  if (value < 1_000_000) return `${trim(value / 1000)}k`;
  return `${trim(value / 1_000_000)}M`;
}

/** A rate per second: `0.42`, `12.3`, `4.9k`. */
export function rate(value: number): string {
  if (value === 0) return "0";
  if (value < 1) return value.toFixed(2);
  if (value < 100) return trim(value);
  return count(value);
}

/** A share from 0 to 1: `0.8 %`, `20 %`; a dash when it is not known. */
export function percent(share: number | null): string {
  if (share === null) return "–";
  const value = share * 100;
  if (value === 0) return "0 %";
  return value < 10 ? `${value.toFixed(1)} %` : `${Math.round(value)} %`;
}

/** A job's id without the id of its research task: `search:42` for `6ba529d4:search:42`. */
export function shortJob(taskId: string, parentTaskId: string | null | undefined): string {
  if (parentTaskId && taskId.startsWith(parentTaskId)) {
    const rest = taskId.slice(parentTaskId.length).replace(/^[:_\-/.]+/, "");
    if (rest) return rest;
  }
  return taskId;
}

/** Ids that are only a random number: hexadecimal, or a UUID. */
const RANDOM_ID = /^[0-9a-f]{16,}$|^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/**
 * The name shown for a research task: its title, else its type, else its shortened id. A title that
 * is an identifier, as third-party spans have it, is written as its type would be.
 */
export function taskName(task: {
  readonly k: string;
  readonly title: string | null;
  readonly type: string | null;
}): string {
  const name = task.title ?? task.type;
  return name === null ? shortId(task.k) : withSpaces(name);
}

/** The name shown for a job: the end of its id, or its type when the id is only a random number. */
export function jobName(
  taskId: string,
  parentTaskId: string | null | undefined,
  taskType: string | null | undefined,
): string {
  if (!taskType || !RANDOM_ID.test(taskId)) return shortJob(taskId, parentTaskId);
  const isPath = /^[\w.]+\w$/.test(taskType);
  return withSpaces(isPath ? taskType.slice(taskType.lastIndexOf(".") + 1) : taskType);
}

/** Characters that are shown of an id that people chose, at most. */
const ID_CHARS = 24;

/** The first eight characters of a random id; of any other so much that it differs from others. */
export function shortId(id: string): string {
  return RANDOM_ID.test(id) ? id.slice(0, 8) : truncateMiddle(id, ID_CHARS);
}

/**
 * An identifier with spaces: `data_aggregation_search` becomes `data aggregation search`.
 *
 * A path of code keeps its underscores, and so does what has spaces already:
 * `BaseWorkflowAgent.setup_agent`, `Read my_file of today`.
 */
export function withSpaces(name: string): string {
  return /[.\s]/.test(name) ? name : name.replaceAll("_", " ");
}

/** Characters at the end of a name that stay visible, because names of siblings differ there. */
const TAIL_CHARS = 7;
const SHORT_CHARS = 10;

/** A name in two parts: the first may be truncated, the second stays visible. */
export function splitName(name: string): readonly [string, string] {
  const letters = [...name];
  if (letters.length <= SHORT_CHARS) return [name, ""];
  return [letters.slice(0, -TAIL_CHARS).join(""), letters.slice(-TAIL_CHARS).join("")];
}

/** A queue's name without the prefix and suffix that all queues of the coordinator share. */
export function queueLabel(name: string): string {
  // Whatever MONITORING_KEY_PREFIX is; a queue of another program keeps its name.
  return name
    .replace(/^nexus:tasks:|^[\w.:-]+:tasks:(?=\w+_priority$)/, "")
    .replace(/_priority$/, "");
}

/** The word shown for each status. */
export const STATUS_LABELS: Record<Status, string> = {
  pending: "queued",
  processing: "running",
  completed: "done",
  failed: "failed",
  retrying: "retry",
  stalled: "stalled",
};

const REASONS: Readonly<Record<string, string>> = {
  worker_lost: "its worker is lost",
  heartbeat_lost: "its heartbeats ended",
  queue_emptied: "its jobs are in no queue",
  silent: "nothing was heard of it",
  parent_ended: "the work above it has ended",
  card_ended: "its task has ended",
  time_limit: "over its time limit",
  killed: "its process was killed",
  revoked: "cancelled",
  expired: "expired before it ran",
  refused: "refused",
  failed: "failed",
  jobs_failed: "jobs failed",
  jobs_stalled: "jobs stalled",
};

/** Why something is stalled or needs attention, in words; a reason that a program gave as it is. */
export function reasonText(why: string): string {
  return REASONS[why] ?? withSpaces(why);
}

/** How far a job is: `3 of 10`; `3` while it does not say of how many. */
export function progressText({ done, total }: Progress): string {
  return total === null ? count(done) : `${count(done)} of ${count(total)}`;
}

/** The share that is done, 0 to 1; null while it is not known. */
export function progressShare({ done, total }: Progress): number | null {
  return total === null || total <= 0 ? null : Math.min(1, Math.max(0, done / total));
}

export interface EventLabel {
  /** The status whose icon and colour are shown; null: a neutral icon. */
  status: Status | null;
  text: string;
}

/** Icon and short text for an event. */
export function eventLabel(event: MonitoringEvent): EventLabel {
  switch (event.event_type) {
    case "task_enqueued":
      return { status: "pending", text: "queued" };
    case "task_started":
      return { status: "processing", text: "started" };
    case "task_completed":
      return { status: "completed", text: "done" };
    case "task_progress":
      return { status: "processing", text: "progress" };
    case "task_failed":
      return { status: "failed", text: "failed" };
    case "task_retry":
      return { status: "retrying", text: "retry" };
    case "task_stalled":
      return { status: "stalled", text: "stalled" };
    case "phase_started":
      return { status: "processing", text: "phase start" };
    case "phase_completed":
      return event.status === "failed"
        ? { status: "failed", text: "phase failed" }
        : { status: "completed", text: "phase done" };
    case "worker_started":
      return { status: null, text: "worker up" };
    case "worker_stopped":
      return { status: null, text: "worker down" };
    case "worker_heartbeat":
      return { status: null, text: "heartbeat" };
    case "queue_depth_update":
      return { status: null, text: "queues" };
    case "stats_snapshot":
      return { status: null, text: event.parent_task_id === undefined ? "stats" : "progress" };
    default:
      return { status: null, text: withSpaces(String(event.event_type)) };
  }
}

/** The message column of an event: its error, else its message, counts or title. */
export function eventText(event: MonitoringEvent): string {
  if (event.error) return event.error;
  if (event.message) return event.message;
  const done = event.progress?.["done"];
  const total = event.progress?.["total"];
  if (event.event_type === "task_progress" && typeof done === "number")
    return progressText({ done, total: typeof total === "number" ? total : null });
  if (event.counts) {
    return Object.entries(event.counts)
      .map(([name, value]) => `${queueLabel(name)} ${value}`)
      .join(" · ");
  }
  const title = event.meta?.["title"];
  return typeof title === "string" ? title : "";
}

function pad(value: number): string {
  return String(value).padStart(2, "0");
}

function trim(value: number): string {
  return value >= 99.95 ? String(Math.round(value)) : value.toFixed(1).replace(/\.0$/, "");
}
