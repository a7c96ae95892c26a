/** How far the phases of a research task are, as bars. */
import { memo } from "react";
import { count, duration, rate, STATUS_LABELS, splitName, withSpaces } from "../lib/format";
import { StatusIcon } from "../lib/icons";
import type { PhasePart } from "../views/view-types";

/** One phase of an unfolded card: name, bar, counts, and its rate while it runs. */
export const PhaseRow = memo(function PhaseRow({ phase }: { phase: PhasePart }) {
  const tookMs = phase.start === null || phase.end === null ? null : phase.end - phase.start;
  const [start, end] = splitName(withSpaces(phase.name));
  return (
    <li className={`phase is-${phase.status}`} title={phaseTitle(phase)}>
      <span className="phase-name" dir="auto">
        <span className="phase-name-start">{start}</span>
        {end && <span>{end}</span>}
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
          <StatusIcon status={phase.status} label />
        )}
      </span>
    </li>
  );
});

/** The bars of all phases in one line, for a folded card. */
export function SegmentedBar({ phases }: { phases: readonly PhasePart[] }) {
  const text = phases.map((phase) => `${phase.name} ${STATUS_LABELS[phase.status]}`).join(", ");
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
  const { total, status } = phase;
  if (total === null || total === 0) {
    const look =
      status === "processing" ? "indeterminate" : status === "completed" ? "full" : status;
    return <span className={`bar bar-${look}`} role="img" aria-label={STATUS_LABELS[status]} />;
  }
  const width = (jobs: number) => ({ width: `${(100 * jobs) / total}%` });
  return (
    <span
      className="bar"
      role="img"
      aria-label={`${phase.done} of ${total} done, ${phase.failed} failed`}
    >
      <span className="seg seg-completed" style={width(phase.done)} />
      <span className="seg seg-failed" style={width(phase.failed)} />
      <span className="seg seg-stalled" style={width(phase.stalled)} />
      <span className="seg seg-retrying" style={width(phase.retrying)} />
      <span className="seg seg-processing" style={width(phase.running)} />
    </span>
  );
}
