/** One row of the waterfall, and the legend with the same bars. */
import { type CSSProperties, memo } from "react";
import type { Status } from "../feed/wire";
import { progressText, STATUS_LABELS, splitName } from "../lib/format";
import { ChevronIcon } from "../lib/icons";
import { ProgressMeter } from "../lib/ProgressMeter";
import { slowText } from "../names/outcome";
import { OutcomeIcon } from "../tasks/marks";
import {
  attemptText,
  indentSteps,
  jobsText,
  rowBars,
  rowFacts,
  rowName,
  type SiblingPlace,
  slowness,
  tookText,
} from "../tree/rows";
import type { TreeRow } from "../views/view-types";
import { timeAttributes } from "./time-axis";

const LEGEND: readonly Status[] = [
  "pending",
  "processing",
  "completed",
  "retrying",
  "failed",
  "stalled",
];

export interface WaterfallRowProps {
  row: TreeRow;
  task: string;
  t0: number;
  /** Its number among all rows, from 0. */
  index: number;
  top: number;
  /** The collector's time for open rows, in whole seconds; 0 for others, which do not need it. */
  now: number;
  isFolded: boolean;
  /** Whether it can be folded: it has rows below it, and no filter is on. */
  canFold: boolean;
  isChosen: boolean;
  place: SiblingPlace | null;
  id?: string;
  onFold: (row: TreeRow, isFolded: boolean) => void;
  onChoose: (row: TreeRow) => void;
}

export const WaterfallRow = memo(function WaterfallRow(props: WaterfallRowProps) {
  const { row, task, t0, index, top, now, isFolded, canFold, isChosen, place } = props;
  const classNames = ["wf-row", `is-${row.kind}`];
  if (isChosen) classNames.push("is-chosen");
  const isThin =
    row.kind === "task" || row.kind === "phase" || (row.kind === "span" && row.kids > 0);
  const style = { top, "--depth": indentSteps(row.depth).toFixed(2) } as CSSProperties;
  const hasRowsBelow = row.kids > 0 && row.kind !== "more";
  return (
    <div
      className={classNames.join(" ")}
      role="row"
      id={props.id}
      style={style}
      title={titleOf(row, task, now)}
      aria-level={row.depth + 1}
      aria-rowindex={index + 1}
      aria-posinset={place?.position}
      aria-setsize={place?.size}
      aria-expanded={hasRowsBelow ? !isFolded : undefined}
      aria-selected={isChosen}
      onClick={() => props.onChoose(row)}
    >
      <span className="wf-label" role="gridcell">
        {canFold ? (
          <button
            type="button"
            className="wf-fold"
            tabIndex={-1}
            aria-label={isFolded ? "Unfold" : "Fold"}
            onClick={(event) => {
              event.stopPropagation();
              props.onFold(row, !isFolded);
            }}
          >
            <ChevronIcon />
          </button>
        ) : (
          <span className="wf-fold" />
        )}
        {row.kind !== "more" && <OutcomeIcon status={row.status} failed={row.failed} />}
        <RowLabel row={row} task={task} />
      </span>
      <span className="wf-track" role="gridcell">
        {rowBars(row, t0).map((bar) => (
          <span
            key={bar.look === "queued" ? "queued" : "ran"}
            className={`wf-bar is-${bar.look}${bar.end === null ? " is-open" : ""}${isThin ? " wf-thin" : ""}`}
            {...timeAttributes(bar.start, bar.end)}
          />
        ))}
      </span>
      <span className="wf-took num" role="gridcell">
        {tookText(row, now)}
      </span>
    </div>
  );
});

function titleOf(row: TreeRow, task: string, now: number): string {
  const progress = row.progress === null ? [] : [`${progressText(row.progress)} done`];
  return [rowName(row, task), ...rowFacts(row, now), ...progress, row.error ?? ""]
    .join("\n")
    .trim();
}

function RowLabel({ row, task }: { row: TreeRow; task: string }) {
  const [start, end] = splitName(rowName(row, task));
  const attempt = attemptText(row);
  const jobs = jobsText(row);
  const slow = slowness(row);
  if (row.kind === "more") return <span className="wf-more muted">{start + end}</span>;
  return (
    <>
      <span
        className={row.kind === "job" || row.kind === "enqueue" ? "wf-name id" : "wf-name"}
        dir="auto"
      >
        <span className="wf-name-start">{start}</span>
        {end && <span className="wf-name-end">{end}</span>}
      </span>
      {attempt && <span className="wf-attempt muted">{attempt}</span>}
      {slow !== null && (
        <span
          className="wf-slow num"
          title={`${slowText(slow)} as long as the median of its siblings`}
        >
          {slowText(slow)}
          <span className="offscreen"> as long as its siblings</span>
        </span>
      )}
      {row.progress !== null && <ProgressMeter progress={row.progress} />}
      {jobs && <span className="wf-jobs muted num">{jobs}</span>}
      {row.failed > 0 && (
        <span className="wf-failed num" title={`${row.failed} jobs failed below this row`}>
          {row.failed.toLocaleString("en-US")}
          <span className="offscreen"> failed</span>
        </span>
      )}
      {row.worker !== null && row.kind === "job" && (
        <span className="wf-worker muted">{row.worker}</span>
      )}
    </>
  );
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
