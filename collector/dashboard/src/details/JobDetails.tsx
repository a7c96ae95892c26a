/** The details of a job: its attempts, one at a time, and what the log has of it. */
import { useId } from "react";
import { ago, dateTime, jobName, progressText, queueLabel, withSpaces } from "../lib/format";
import { StatusIcon } from "../lib/icons";
import { ProgressMeter } from "../lib/ProgressMeter";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useView } from "../views/useView";
import type { AttemptRow, WorkerRow } from "../views/view-types";
import {
  attemptLabel,
  type Fact,
  LIVES,
  shownAttempt,
  slowFacts,
  statusText,
  timeFacts,
  workerOf,
} from "./facts";
import { GoneJob } from "./GoneJob";
import { JobEvents } from "./JobEvents";
import { LinesSection } from "./lines/LinesSection";
import { useNode } from "./node/answer";
import { SpanSections } from "./node/SpanSections";
import { Absent, ErrorText, Facts, Heading, Raw, StackText, TraceLink } from "./parts";

interface JobDetailsProps {
  feed: MonitoringFeed;
  now: number;
  task: string;
  job: string;
  /** Key of the attempt; empty: the newest of `run`. */
  node: string;
  run: number | null;
  traceLink: (traceId: string | undefined) => string | null;
  onNode: (key: string) => void;
  /** Shows a worker, by its key in the view `workers`; a queue, by its key in `queues`. */
  onWorker: (key: string) => void;
  onQueue: (key: string) => void;
}

export function JobDetails(props: JobDetailsProps) {
  const { feed, now, task, job, node, run, traceLink } = props;
  const id = useId();
  const view = useView(feed, "job", { task, job });
  const { head, rows, status } = view;
  const attempt = shownAttempt(rows, node, run) ?? shownAttempt(rows, "", null);
  // All that are listed: a worker is found by its id, which other lives of it have as well.
  const isRun = attempt !== null && attempt.worker !== null;
  const workers = useView(feed, "workers", isRun ? { count: 200 } : null);
  const span = attempt?.span ?? null;
  const own = useNode(feed.baseUrl, span, attempt?.end ?? null);
  const stackSpan = attempt?.stack ?? null;
  const other = useNode(feed.baseUrl, stackSpan === span ? null : stackSpan);
  if (head === null && status !== "gone") return <Absent view={view} />;
  if (head === null || attempt === null)
    return (
      <GoneJob
        key={`${task} ${job}`}
        feed={feed}
        now={now}
        task={task}
        job={job}
        traceLink={traceLink}
      />
    );
  const facts: Fact[] = [
    ...timeFacts(attempt, now),
    ...slowFacts(attempt),
    ...workerFacts(attempt, workerOf(attempt, workers.rows), now, props.onWorker),
    ...(head.queue === null ? [] : [queueFact(head.queue, props.onQueue)]),
    ...(head.phase === null ? [] : [{ name: "Phase", text: withSpaces(head.phase) }]),
    ...(head.project === null ? [] : [{ name: "Project", text: head.project }]),
    ...(head.type === null ? [] : [{ name: "Type", text: head.type }]),
    { name: "Job", text: head.job },
  ];
  return (
    <>
      <Heading
        status={attempt.status}
        name={jobName(head.job, task, head.type)}
        text={statusText(attempt)}
        path={head.path}
      >
        <TraceLink href={traceLink(attempt.trace ?? undefined)} />
      </Heading>
      {rows.length > 1 && (
        <div className="details-attempts" role="tablist" aria-label="Attempts">
          {rows.map((row) => (
            <button
              key={row.k}
              type="button"
              role="tab"
              aria-selected={row.k === attempt.k}
              aria-controls={`${id}attempt`}
              title={statusText(row)}
              onClick={() => props.onNode(row.k)}
            >
              <StatusIcon status={row.status} label />
              {attemptLabel(row, head.runs)}
            </button>
          ))}
        </div>
      )}
      <section
        id={`${id}attempt`}
        className="details-attempt"
        role={rows.length > 1 ? "tabpanel" : undefined}
        aria-label={attemptLabel(attempt, head.runs)}
      >
        {attempt.error !== null && <ErrorText error={attempt.error} />}
        {stackSpan !== null && <StackText stack={(stackSpan === span ? own : other).stack} />}
        {attempt.progress !== null && (
          <p className="details-progress">
            <ProgressMeter progress={attempt.progress} />
            <span className="offscreen">{progressText(attempt.progress)} done</span>
          </p>
        )}
        <Facts facts={facts} />
        {span !== null && attempt.kind === "job" && (
          <LinesSection
            feed={feed}
            now={now}
            task={task}
            node={attempt.k}
            status={attempt.status}
            end={attempt.end}
          />
        )}
        {span !== null && (
          <SpanSections
            feed={feed}
            task={task}
            answer={own}
            trace={attempt.trace}
            traceLink={traceLink}
            onNode={props.onNode}
          />
        )}
      </section>
      <JobEvents feed={feed} task={task} job={head.job} now={now} />
      <Raw value={{ ...head, attempt }} />
    </>
  );
}

function queueFact(queue: string, onQueue: (key: string) => void): Fact {
  return { name: "Queue", text: queueLabel(queue), title: queue, onClick: () => onQueue(queue) };
}

/** Who ran it, and how that process is now. */
function workerFacts(
  attempt: AttemptRow,
  worker: WorkerRow | null,
  now: number,
  onWorker: (key: string) => void,
): Fact[] {
  if (attempt.worker === null) return [];
  const name = { name: "Worker", text: String(attempt.worker) };
  const facts: Fact[] = [worker ? { ...name, onClick: () => onWorker(worker.k) } : name];
  const host = attempt.host ?? worker?.host ?? null;
  if (host !== null) {
    const pid = worker?.pid ?? null;
    facts.push({ name: "Host", text: pid === null ? host : `${host}, process ${pid}` });
  }
  if (worker !== null) {
    const seen = worker.seen === null ? "" : `, seen ${ago(worker.seen, now)}`;
    facts.push({
      name: "Worker now",
      text: `${LIVES[worker.status]}${seen}`,
      title: dateTime(worker.seen),
    });
  }
  return facts;
}
