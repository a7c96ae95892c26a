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
  statusText,
  timeFacts,
  workerOf,
} from "./facts";
import { JobEvents } from "./JobEvents";
import { ErrorText, Facts, Gone, Heading, Raw, StackText, TraceLink } from "./parts";

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
  /** Shows a worker, by its key in the view `workers`. */
  onWorker: (key: string) => void;
}

export function JobDetails(props: JobDetailsProps) {
  const { feed, now, task, job, node, run, traceLink } = props;
  const id = useId();
  const { head, rows, status, why } = useView(feed, "job", { task, job });
  // All that are listed: a worker is found by its id, which other lives of it have as well.
  const workers = useView(feed, "workers", { count: 200 });
  if (status === "gone" || status === "refused") return <Gone why={why} />;
  if (head === null) return <p className="none">Asking the collector…</p>;
  const attempt = shownAttempt(rows, node, run) ?? shownAttempt(rows, "", null);
  if (attempt === null) return <Gone why={null} />;
  const facts: Fact[] = [
    ...timeFacts(attempt, now),
    ...workerFacts(attempt, workerOf(attempt, workers.rows), now, props.onWorker),
    ...(head.queue === null
      ? []
      : [{ name: "Queue", text: queueLabel(head.queue), title: head.queue }]),
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
        {attempt.stack !== null && <StackText baseUrl={feed.baseUrl} span={attempt.stack} />}
        {attempt.progress !== null && (
          <p className="details-progress">
            <ProgressMeter progress={attempt.progress} />
            <span className="offscreen">{progressText(attempt.progress)} done</span>
          </p>
        )}
        <Facts facts={facts} />
      </section>
      <JobEvents feed={feed} task={task} job={head.job} now={now} />
      <Raw value={{ ...head, attempt }} />
    </>
  );
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
