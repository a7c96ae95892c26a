/** One research task as a row of 32 px. */
import { memo } from "react";
import { ago, count, dateTime, duration, elapsed, taskName, withSpaces } from "../lib/format";
import { timeWithDay } from "../names/days";
import { MiddleName } from "../names/MiddleName";
import { outcomeText } from "../names/outcome";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useNow } from "../views/useNow";
import type { TaskRow } from "../views/view-types";
import { OutcomeIcon, PinButton } from "./marks";
import { TaskBar } from "./PhaseBar";
import { whyText } from "./task-sections";

interface TaskLineProps {
  feed: MonitoringFeed;
  task: TaskRow;
  /** Whether the task is the one shown beside the list. */
  isFocused: boolean;
  isPinned: boolean;
  /** Whether Tab stops at it: of all rows at one, the arrow keys go to the others. */
  isTabStop: boolean;
  onFocus: (taskId: string) => void;
  onPin: (taskId: string) => void;
}

/** Status, name, phase or what is wrong, bar, jobs, and how long it runs or ran. */
export const TaskLine = memo(function TaskLine(props: TaskLineProps) {
  const { feed, task, isFocused, isPinned, isTabStop, onFocus, onPin } = props;
  const title = taskName(task);
  const ended = task.done + task.failed;
  const known = ended + task.pending;
  return (
    <article
      className={`line is-${task.status}${isFocused ? " is-focused" : ""}`}
      aria-label={title}
      data-task={task.k}
      title={lineTitle(task, title)}
    >
      <OutcomeIcon status={task.status} failed={task.failed} />
      <button
        type="button"
        className="line-name"
        data-choose=""
        aria-pressed={isFocused}
        aria-label={title}
        tabIndex={isTabStop ? 0 : -1}
        onClick={() => onFocus(task.k)}
      >
        <MiddleName name={title} />
      </button>
      <span className="line-why">
        <Why feed={feed} task={task} />
      </span>
      <TaskBar task={task} />
      <span className="line-jobs num">
        {known > 0 && `${count(ended)}/${count(known)}`}
        {task.failed > 0 && (
          <span className="c-failed">
            {count(task.failed)}
            <span className="line-failed-word"> failed</span>
          </span>
        )}
      </span>
      <Start feed={feed} start={task.start} />
      <Took feed={feed} task={task} />
      <PinButton isTabStop={isTabStop} isPinned={isPinned} onPin={() => onPin(task.k)} />
    </article>
  );
});

const WHY_COLORS: Readonly<Record<string, string>> = {
  failed: "c-failed",
  jobs_failed: "c-failed",
  jobs_slow: "c-retrying",
};

/** Why it needs attention; else the phase that runs. */
function Why({ feed, task }: { feed: MonitoringFeed; task: TaskRow }) {
  if (task.status === "stalled") {
    return (
      <span className="c-stalled">
        {task.why === null ? "stalled" : whyText(task.why, task)}
        <Heard feed={feed} seen={task.seen} />
      </span>
    );
  }
  if (task.why !== null) {
    const isOver = task.status === "failed" && task.error !== null;
    const text = isOver ? task.error : whyText(task.why, task);
    return <span className={WHY_COLORS[task.why] ?? "c-stalled"}>{text}</span>;
  }
  return <span className="muted">{task.phase === null ? "" : withSpaces(task.phase)}</span>;
}

function Heard({ feed, seen }: { feed: MonitoringFeed; seen: number }) {
  return <span className="num">, last heard {ago(seen, useNow(feed))}</span>;
}

function Start({ feed, start }: { feed: MonitoringFeed; start: number | null }) {
  const now = useNow(feed);
  return (
    <span className="line-start num muted">{start === null ? "" : timeWithDay(start, now)}</span>
  );
}

/** How long it took, or has taken; of a stalled one until it was last heard. */
function Took({ feed, task }: { feed: MonitoringFeed; task: TaskRow }) {
  const { start, end, seen, status } = task;
  if (start === null) return <span className="line-took" />;
  if (end !== null) return <span className="line-took num">{duration(end - start)}</span>;
  if (status === "stalled") return <span className="line-took num">{elapsed(seen - start)}</span>;
  return <Running feed={feed} start={start} />;
}

function Running({ feed, start }: { feed: MonitoringFeed; start: number }) {
  return <span className="line-took num">{elapsed(useNow(feed) - start)}</span>;
}

function lineTitle(task: TaskRow, title: string): string {
  const facts = [
    outcomeText(task.status, task.failed),
    task.why === null ? "" : whyText(task.why, task),
    task.project === null ? "" : `project ${task.project}`,
    task.phase === null ? "" : `phase ${withSpaces(task.phase)}`,
  ].filter(Boolean);
  const start = task.start === null ? "" : `from ${dateTime(task.start)}`;
  return [title, facts.join(" · "), start, task.error ?? ""].filter(Boolean).join("\n");
}
