/** One row of the waterfall, and the legend with the same bars. */
import { memo } from "react";
import type { Status } from "../feed/wire";
import { count, dateTime, duration, elapsed, STATUS_LABELS } from "../lib/format";
import { ChevronIcon, StatusIcon } from "../lib/icons";
import type { ChartRow } from "./waterfall-rows";

const LEGEND: readonly Status[] = [
  "pending",
  "processing",
  "completed",
  "retrying",
  "failed",
  "stalled",
];

/**
 * Attributes from which `time-axis.ts` places a bar: seconds from the task's start; no end: it
 * grows.
 */
export function timeAttributes(startSec: number, endSec: number | null) {
  return { "data-s": startSec, "data-e": endSec ?? undefined };
}

interface WaterfallRowProps {
  row: ChartRow;
  t0: number;
  top: number;
  now: number;
  isMarked: boolean;
  onFold: (phase: string, isFolded: boolean) => void;
}

export const WaterfallRow = memo(function WaterfallRow({
  row,
  t0,
  top,
  now,
  isMarked,
  onFold,
}: WaterfallRowProps) {
  const isPhase = row.kind === "phase";
  const took =
    row.end === null ? elapsed(now - row.runStartedAt) : duration(row.end - row.runStartedAt);
  const classNames = ["wf-row", `is-${row.kind}`];
  if (row.isDim) classNames.push("is-dim");
  if (isMarked) classNames.push("is-marked");
  return (
    <div className={classNames.join(" ")} role="listitem" style={{ top }} title={tooltip(row)}>
      <span className="wf-label">
        {isPhase ? (
          <button
            type="button"
            className="wf-fold"
            aria-expanded={!row.isFolded}
            disabled={row.jobs === 0}
            onClick={() => onFold(row.phase, !row.isFolded)}
          >
            <ChevronIcon />
            <StatusIcon status={row.status} label />
            <span className="wf-name" dir="auto">
              {row.label}
            </span>
            {row.jobs > 0 && <span className="muted num">{count(row.jobs)}</span>}
          </button>
        ) : (
          <>
            <StatusIcon status={row.status} label />
            <span className="wf-name id" dir="auto">
              {row.label}
            </span>
            {row.workerId !== null && <span className="wf-worker muted">{row.workerId}</span>}
          </>
        )}
      </span>
      <span className="wf-track">
        {isPhase ? <PhaseBar row={row} t0={t0} /> : <JobBars row={row} t0={t0} />}
      </span>
      <span className="wf-took num">{took}</span>
    </div>
  );
});

function PhaseBar({ row, t0 }: { row: ChartRow; t0: number }) {
  const end = row.end === null ? null : (row.end - t0) / 1000;
  return (
    <span
      className={`wf-bar wf-phase is-${row.status}${end === null ? " is-open" : ""}`}
      {...timeAttributes((row.start - t0) / 1000, end)}
    />
  );
}

function JobBars({ row, t0 }: { row: ChartRow; t0: number }) {
  const sec = (ms: number) => (ms - t0) / 1000;
  const parts = [];
  let idleSince: number | null = null;
  for (const bar of row.bars) {
    const waitingSince = bar.queuedAt === null ? idleSince : Math.max(bar.queuedAt, idleSince ?? 0);
    if (waitingSince !== null && bar.startedAt !== null && bar.startedAt > waitingSince) {
      parts.push(
        <span
          key={parts.length}
          className="wf-bar is-queued"
          {...timeAttributes(sec(waitingSince), sec(bar.startedAt))}
        />,
      );
    }
    if (bar.startedAt === null) {
      if (waitingSince !== null && bar.endedAt === null) {
        parts.push(
          <span
            key={parts.length}
            className="wf-bar is-queued is-open"
            {...timeAttributes(sec(waitingSince), null)}
          />,
        );
      }
      continue;
    }
    parts.push(
      <span
        key={parts.length}
        className={`wf-bar is-${bar.status}${bar.endedAt === null ? " is-open" : ""}`}
        {...timeAttributes(sec(bar.startedAt), bar.endedAt === null ? null : sec(bar.endedAt))}
      />,
    );
    idleSince = bar.endedAt;
  }
  if (row.end === null && row.status === "retrying" && idleSince !== null) {
    parts.push(
      <span
        key={parts.length}
        className="wf-bar is-queued is-open"
        {...timeAttributes(sec(idleSince), null)}
      />,
    );
  }
  return parts;
}

function tooltip(row: ChartRow): string {
  const lines = [`${row.taskId ?? row.label}: ${STATUS_LABELS[row.status]}`];
  if (row.workerId !== null) lines.push(`worker ${row.workerId}`);
  if (row.bars.length > 1 && row.kind === "job") lines.push(`${row.bars.length} attempts`);
  if (row.runStartedAt > row.start)
    lines.push(`queued for ${duration(row.runStartedAt - row.start)}`);
  lines.push(`from ${dateTime(row.runStartedAt)}`);
  if (row.end !== null) lines.push(`to ${dateTime(row.end)}`);
  if (row.error) lines.push(row.error);
  return lines.join("\n");
}

/** The statuses and their bars, drawn with the same styles as in the chart. */
export const Legend = memo(function Legend() {
  return (
    <ul className="legend" aria-label="Legend">
      {LEGEND.map((status) => (
        <li key={status}>
          <span
            className={`wf-bar legend-bar is-${status === "pending" ? "queued" : status}`}
            aria-hidden="true"
          />
          {STATUS_LABELS[status]}
        </li>
      ))}
    </ul>
  );
});
