/** One research task as a card. */
import { memo } from "react";
import {
  ago,
  approximately,
  count,
  dateTime,
  duration,
  elapsed,
  reasonText,
  shortId,
  taskName,
  withSpaces,
} from "../lib/format";
import { ChevronIcon } from "../lib/icons";
import { timeWithDay } from "../names/days";
import { MiddleName } from "../names/MiddleName";
import { outcomeText } from "../names/outcome";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useNow } from "../views/useNow";
import type { TaskRow } from "../views/view-types";
import { OutcomeIcon, PinButton } from "./marks";
import { PhaseRow, SegmentedBar } from "./PhaseBar";
import { whyText } from "./task-sections";
import { shareOf } from "./task-share";

interface TaskCardProps {
  feed: MonitoringFeed;
  task: TaskRow;
  isOpen: boolean;
  /** Whether the task is the one shown beside the list. */
  isFocused: boolean;
  isPinned: boolean;
  onFocus: (taskId: string) => void;
  onPin: (taskId: string) => void;
  onToggle: (taskId: string) => void;
}

/** Title, facts, phases, counts and times of one task. */
export const TaskCard = memo(function TaskCard(props: TaskCardProps) {
  const { feed, task, isOpen, isFocused, isPinned, onFocus, onPin, onToggle } = props;
  const title = taskName(task);
  const ended = task.done + task.failed;
  const share = shareOf(task);
  return (
    <article
      className={`card is-${task.status}${isFocused ? " is-focused" : ""}`}
      aria-label={title}
      data-task={task.k}
    >
      <header className="card-head">
        <OutcomeIcon status={task.status} failed={task.failed} />
        <button
          type="button"
          className="card-title"
          data-choose=""
          aria-pressed={isFocused}
          aria-label={title}
          title={`${title}\nShow in the waterfall`}
          onClick={() => onFocus(task.k)}
        >
          <MiddleName name={title} />
        </button>
        {share !== null && (
          <span
            className="card-percent num"
            data-testid="percent"
            title="Share of the jobs known so far that have ended"
          >
            {Math.floor(share * 100)} %
          </span>
        )}
        <PinButton isPinned={isPinned} onPin={() => onPin(task.k)} />
        <button
          type="button"
          className="icon-button"
          aria-expanded={isOpen}
          aria-label={isOpen ? "Fold phases" : "Unfold phases"}
          onClick={() => onToggle(task.k)}
        >
          <ChevronIcon />
        </button>
      </header>
      <p className="facts">
        {task.type && task.title && withSpaces(task.type) !== withSpaces(task.title) && (
          <span>{withSpaces(task.type)}</span>
        )}
        {task.domain && task.domain !== task.project && <span>{task.domain}</span>}
        {task.project && <span title={`Project ${task.project}`}>{task.project}</span>}
        {task.start !== null && <Start feed={feed} start={task.start} />}
        <span className="id" title={task.k}>
          {shortId(task.k)}
        </span>
      </p>
      {isOpen ? (
        task.phases.length > 0 && (
          <ol className="phases">
            {task.phases.map((phase) => (
              <PhaseRow key={phase.name} phase={phase} />
            ))}
          </ol>
        )
      ) : (
        <SegmentedBar phases={task.phases} />
      )}
      <footer className="card-foot">
        <CardTime feed={feed} task={task} />
        <span className="num card-counts">
          {ended + task.pending > 0 && (
            <span>
              {count(ended)}/{count(ended + task.pending)} jobs
            </span>
          )}
          {task.running > 0 && <span className="c-processing">{count(task.running)} running</span>}
          {task.stalled > 0 && <span className="c-stalled">{count(task.stalled)} stalled</span>}
          {task.retries > 0 && <span className="c-retrying">{count(task.retries)} retried</span>}
          {task.failed > 0 && <span className="c-failed">{count(task.failed)} failed</span>}
        </span>
      </footer>
      {task.not_held > 0 && (
        <p className="card-note muted num">
          {count(task.not_held)} earlier spans are counted, but no longer in the collector's memory
        </p>
      )}
      {task.error && (
        <p className="card-error" title={task.error}>
          {task.error}
        </p>
      )}
    </article>
  );
});

function Start({ feed, start }: { feed: MonitoringFeed; start: number }) {
  return (
    <span className="num" title={dateTime(start)}>
      {timeWithDay(start, useNow(feed))}
    </span>
  );
}

/** Reasons of which the counts beside the time say more. */
const COUNTED: ReadonlySet<string> = new Set(["failed", "jobs_failed", "jobs_stalled"]);

function CardTime({ feed, task }: { feed: MonitoringFeed; task: TaskRow }) {
  const now = useNow(feed);
  const { status, start, end, seen, phase, eta_sec: etaSec } = task;
  if (status === "stalled") {
    return (
      <span className="card-time c-stalled" title={dateTime(seen)}>
        stalled{task.why && `: ${reasonText(task.why)}`}
        <span className="muted num"> · last heard {ago(seen, now)}</span>
      </span>
    );
  }
  if (end !== null) {
    return (
      <span className="card-time" title={dateTime(end)}>
        {outcomeText(status, task.failed)} {ago(end, now)}
        {start !== null && <span className="muted num"> · took {duration(end - start)}</span>}
      </span>
    );
  }
  return (
    <span className="card-time">
      <span className="num">{start === null ? "" : elapsed(now - start)}</span>
      {phase && <span className="muted"> · {withSpaces(phase)}</span>}
      {task.why !== null && !COUNTED.has(task.why) && (
        <span className={task.why === "jobs_slow" ? "c-retrying" : "c-stalled"}>
          {" "}
          · {whyText(task.why, task)}
        </span>
      )}
      {etaSec !== null && etaSec > 0 && (
        <span
          className="muted num"
          title="Until the running phase ends, at the rate of the last minute"
        >
          {" "}
          · {approximately(etaSec)} left
        </span>
      )}
    </span>
  );
}
