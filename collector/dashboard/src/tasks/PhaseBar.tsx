/** How far a research task and its phases are, as bars. */
import { memo } from "react";
import { count, duration, rate, withSpaces } from "../lib/format";
import { MiddleName } from "../names/MiddleName";
import { isPartlyFailed, outcomeText } from "../names/outcome";
import type { PhasePart, TaskRow } from "../views/view-types";
import { OutcomeIcon } from "./marks";

/** One phase of an unfolded card: name, bar, counts, and its rate while it runs. */
export const PhaseRow = memo(function PhaseRow({ phase }: { phase: PhasePart }) {
  const tookMs = phase.start === null || phase.end === null ? null : phase.end - phase.start;
  return (
    <li className={`phase is-${phase.status}`} title={phaseTitle(phase)}>
      <span className="phase-name">
        <MiddleName name={withSpaces(phase.name)} />
      </span>
      <PhaseBar phase={phase} />
      <span className="phase-count num">
        {phase.total !== null ? (
          <>
            {count(phase.done + phase.failed)}/{count(phase.total)}
          </>
        ) : (
          tookMs !== null && <span className="muted">{duration(tookMs)}</span>
        )}
      </span>
      <span className="phase-end num">
        {phase.status === "processing" && phase.rate !== null ? (
          <span className="muted">{rate(phase.rate)}/s</span>
        ) : (
          <OutcomeIcon status={phase.status} failed={phase.failed} />
        )}
      </span>
    </li>
  );
});

/** The bars of all phases in one line, for a folded card. */
export function SegmentedBar({ phases }: { phases: readonly PhasePart[] }) {
  const text = phases
    .map((phase) => `${withSpaces(phase.name)} ${outcomeText(phase.status, phase.failed)}`)
    .join(", ");
  return (
    <span className="segments" role="img" aria-label={text || "no phases"}>
      {phases.map((phase) => (
        <span key={phase.name} title={phaseTitle(phase)}>
          <PhaseBar phase={phase} />
        </span>
      ))}
    </span>
  );
}

/** The tooltip of a phase: the counts that its bar shows. */
function phaseTitle(phase: PhasePart): string {
  const counts = [
    `${phase.done}${phase.total === null ? "" : ` of ${phase.total}`} done`,
    phase.failed > 0 && `${phase.failed} failed`,
    phase.retrying > 0 && `${phase.retrying} waiting for another attempt`,
    phase.running > 0 && `${phase.running} running`,
    phase.stalled > 0 && `${phase.stalled} stalled`,
  ].filter(Boolean);
  return `${withSpaces(phase.name)}: ${counts.join(", ")}`;
}

function PhaseBar({ phase }: { phase: PhasePart }) {
  const { total, status, failed } = phase;
  if (total === null || total === 0) return <PlainBar status={status} failed={failed} />;
  return (
    <span
      className="bar"
      role="img"
      aria-label={`${phase.done} of ${total} done, ${failed} failed`}
    >
      <Segments jobs={phase} total={total} retrying={phase.retrying} />
    </span>
  );
}

/** The jobs of a whole task in one bar; of what is not known to have jobs, its status. */
export function TaskBar({ task }: { task: TaskRow }) {
  const total = task.done + task.failed + task.pending;
  if (total === 0) return <PlainBar status={task.status} failed={task.failed} />;
  return (
    <span
      className="bar"
      role="img"
      aria-label={`${task.done} of ${total} jobs done, ${task.failed} failed`}
    >
      <Segments jobs={task} total={total} retrying={0} />
    </span>
  );
}

function PlainBar({ status, failed }: Pick<PhasePart, "status" | "failed">) {
  let look: string = status;
  if (status === "processing") look = "indeterminate";
  else if (isPartlyFailed(status, failed)) look = "partly";
  else if (status === "completed") look = "full";
  return <span className={`bar bar-${look}`} role="img" aria-label={outcomeText(status, failed)} />;
}

interface SegmentsProps {
  jobs: Pick<PhasePart, "done" | "failed" | "stalled" | "running">;
  total: number;
  retrying: number;
}

function Segments({ jobs, total, retrying }: SegmentsProps) {
  const width = (part: number) => ({ width: `${(100 * part) / total}%` });
  // One failure among 5,000 jobs is seen all the same.
  const seen = (part: number) => ({ ...width(part), minWidth: part > 0 ? 3 : 0 });
  return (
    <>
      <span className="seg seg-completed" style={width(jobs.done)} />
      <span className="seg seg-failed" style={seen(jobs.failed)} />
      <span className="seg seg-stalled" style={seen(jobs.stalled)} />
      <span className="seg seg-retrying" style={width(retrying)} />
      <span className="seg seg-processing" style={width(jobs.running)} />
    </>
  );
}
