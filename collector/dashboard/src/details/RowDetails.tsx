/** The details of a row that is no job: a task, a phase, or any span. */
import { STATUS_LABELS } from "../lib/format";
import { StatusIcon } from "../lib/icons";
import { ProgressMeter } from "../lib/ProgressMeter";
import { outcomeText } from "../names/outcome";
import { moreText, rowName } from "../tree/rows";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useView } from "../views/useView";
import type { TreeRow } from "../views/view-types";
import { type Fact, jobCounts, slowFacts, statusText, timeFacts } from "./facts";
import { LinesSection } from "./lines/LinesSection";
import { useNode } from "./node/answer";
import { SpanSections } from "./node/SpanSections";
import { ErrorText, Facts, Heading, Raw, TraceLink } from "./parts";

const KINDS: Readonly<Record<TreeRow["kind"], string>> = {
  task: "Task",
  phase: "Phase",
  enqueue: "Job",
  job: "Job",
  span: "Span",
  more: "Rows no longer in memory",
};

interface RowDetailsProps {
  feed: MonitoringFeed;
  now: number;
  task: string;
  row: TreeRow;
  /** The rows above it, the task's first. */
  path: readonly TreeRow[];
  onNode: (key: string) => void;
  traceLink: (traceId: string | undefined) => string | null;
}

/** Keys of the view `tree` that are the ids of spans. */
const SPAN_ID = /^[0-9a-f]{16}$/;

export function RowDetails(props: RowDetailsProps) {
  const { feed, now, task, row, path, traceLink, onNode } = props;
  const isSpan = SPAN_ID.test(row.k);
  const answer = useNode(feed.baseUrl, isSpan ? row.k : null, row.end);
  const [card] = useView(feed, "tasks", { keys: [task], count: 1 }).rows;
  if (row.kind === "more") return <p className="none">{moreText(row.kids)}</p>;
  const facts: Fact[] = [
    { name: "What it is", text: KINDS[row.kind] },
    ...timeFacts(row, now),
    ...slowFacts(row),
    ...(row.worker === null ? [] : [{ name: "Worker", text: String(row.worker) }]),
    ...(row.type === null ? [] : [{ name: "Type", text: row.type }]),
    { name: "Task", text: task },
  ];
  const counts = jobCounts(row);
  return (
    <>
      <Heading
        status={row.status}
        failed={row.failed}
        name={rowName(row, task)}
        text={row.why === null ? outcomeText(row.status, row.failed) : statusText(row)}
        path={path.map((above) => rowName(above, task))}
        onPath={(index) => onNode(path[index]?.k ?? row.k)}
      >
        <TraceLink href={traceLink(card?.trace ?? undefined)} />
      </Heading>
      {row.error !== null && <ErrorText error={row.error} />}
      {row.progress !== null && (
        <p className="details-progress">
          <ProgressMeter progress={row.progress} />
        </p>
      )}
      {counts.length > 0 && (
        <section className="details-jobs" aria-label="Jobs below it">
          <h3>Jobs below it</h3>
          <ul>
            {counts.map(({ status, jobs }) => (
              <li key={status} className="num">
                <StatusIcon status={status} />
                {jobs.toLocaleString("en-US")} {STATUS_LABELS[status]}
              </li>
            ))}
          </ul>
        </section>
      )}
      <Facts facts={facts} />
      {isSpan && (
        <>
          <LinesSection
            feed={feed}
            now={now}
            task={task}
            node={row.k}
            status={row.status}
            end={row.end}
          />
          <SpanSections
            feed={feed}
            task={task}
            answer={answer}
            trace={card?.trace ?? null}
            traceLink={traceLink}
            onNode={onNode}
          />
        </>
      )}
      <Raw value={row} />
    </>
  );
}
