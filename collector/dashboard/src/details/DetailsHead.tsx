/** The bar above the details: back to the list they came from, other failures, link, close. */
import { useEffect, useRef, useState } from "react";
import { CopyButton } from "../lib/CopyButton";
import { count } from "../lib/format";
import { CloseIcon } from "../lib/icons";
import { newestAttempt } from "../tree/seek";
import { type SeekAnswer, useSeek } from "../tree/use-seek";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useView } from "../views/useView";
import { useFailure } from "./lists/FailureDetails";
import type { ListedJob } from "./lists/JobList";
import { besides, indexIn, type Origin } from "./lists/origin";

const BACK: Readonly<Record<Origin["kind"], string>> = {
  failure: "Group",
  queue: "Queue",
  worker: "Worker",
};

interface DetailsHeadProps {
  feed: MonitoringFeed;
  /** Id of the research task of the row or job that is shown; null: another thing is. */
  task: string | null;
  /** Key of the row, if it is known; else the job. */
  row: string | null;
  job: string | null;
  /** The list that the job was opened from; null: none. */
  origin: Origin | null;
  /** Shows the next or previous failure of the task; null: this bar searches for it. */
  onStep: ((step: 1 | -1) => void) | null;
  onNode: (key: string) => void;
  /** Shows another job of the same list. */
  onJob: (job: ListedJob) => void;
  onBack: (origin: Origin) => void;
  link: () => string;
  onClose: () => void;
}

export function DetailsHead(props: DetailsHeadProps) {
  const { feed, task, origin } = props;
  return (
    <header className="details-head">
      {origin !== null && (
        <button
          type="button"
          className="button quiet"
          aria-label={`Back to the ${BACK[origin.kind].toLowerCase()}`}
          onClick={() => props.onBack(origin)}
        >
          <span aria-hidden="true">‹</span> {BACK[origin.kind]}
        </button>
      )}
      {origin?.kind === "failure" ? (
        <StepInGroup feed={feed} origin={origin} onJob={props.onJob} />
      ) : task !== null && props.onStep !== null ? (
        <StepButtons onStep={props.onStep} />
      ) : (
        task !== null && (
          <StepInTask
            key={task}
            feed={feed}
            task={task}
            row={props.row}
            job={props.job}
            onNode={props.onNode}
          />
        )
      )}
      <span className="panel-end">
        <CopyButton text={props.link} label="Copy link" title="Copy link" isLink isShort />
        <button
          type="button"
          className="icon-button"
          aria-label="Close the details"
          title="Close: Esc"
          onClick={props.onClose}
        >
          <CloseIcon />
        </button>
      </span>
    </header>
  );
}

interface StepButtonsProps {
  onStep: (step: 1 | -1) => void;
  /** Shown between the two. */
  place?: string;
  isFirst?: boolean;
  isLast?: boolean;
}

function StepButtons({ onStep, place, isFirst = false, isLast = false }: StepButtonsProps) {
  // There is room for it where the bar has no more than the two.
  const word = place === undefined && <span className="copy-label"> failure</span>;
  return (
    <>
      <button
        type="button"
        className="button quiet"
        title="The failed row before this one: N"
        disabled={isFirst}
        onClick={() => onStep(-1)}
      >
        Previous{word}
      </button>
      {place && (
        <span className="muted num details-place" role="status">
          {place}
        </span>
      )}
      <button
        type="button"
        className="button quiet"
        title="The next failed row: n"
        disabled={isLast}
        onClick={() => onStep(1)}
      >
        Next{word}
      </button>
    </>
  );
}

/** Leads through the jobs of a group of failures; `n` and `N` do so too while it is there. */
function StepInGroup(props: {
  feed: MonitoringFeed;
  origin: Origin;
  onJob: (job: ListedJob) => void;
}) {
  const { feed, origin, onJob } = props;
  const { rows } = useFailure(feed, origin.key);
  const index = indexIn(rows, origin);
  const step = (by: 1 | -1) => {
    const next = besides(rows, origin, by);
    if (next !== null) onJob(next);
  };
  const latest = useRef(step);
  latest.current = step;
  useEffect(() => {
    const onKey = (event: Event) => {
      const key = (event as CustomEvent<unknown>).detail;
      if (key !== "n" && key !== "N") return;
      // The waterfall would go on to the next failure of the task.
      event.stopImmediatePropagation();
      latest.current(key === "n" ? 1 : -1);
    };
    window.addEventListener("ob:chart", onKey, true);
    return () => window.removeEventListener("ob:chart", onKey, true);
  }, []);
  return (
    <StepButtons
      onStep={step}
      place={index < 0 ? "" : `${count(index + 1)} of ${count(rows.length)}`}
      isFirst={index <= 0}
      isLast={index < 0 || index === rows.length - 1}
    />
  );
}

/** Leads through the failed rows of a task where there is no waterfall that could. */
function StepInTask(props: {
  feed: MonitoringFeed;
  task: string;
  row: string | null;
  job: string | null;
  onNode: (key: string) => void;
}) {
  const { feed, task, row, job, onNode } = props;
  const attempts = useView(feed, "job", row === null && job !== null ? { task, job } : null);
  const from = row ?? newestAttempt(attempts.rows);
  const [place, setPlace] = useState("");
  const onAnswer = ({ found, isAgain }: SeekAnswer) => {
    setPlace(found === null ? "none failed" : isAgain ? "started again" : "");
    if (found !== null) onNode(found.key);
  };
  const seek = useSeek(feed, task, {}, onAnswer);
  return <StepButtons onStep={(step) => seek({ kind: "failure", from, step })} place={place} />;
}
