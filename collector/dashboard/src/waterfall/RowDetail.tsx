/** The line below the waterfall: what is known of the chosen row, as text that can be copied. */
import { useLayoutEffect } from "react";
import { CloseIcon } from "../lib/icons";
import { ProgressMeter } from "../lib/ProgressMeter";
import { OutcomeIcon } from "../tasks/marks";
import { rowFacts, rowName } from "../tree/rows";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useView } from "../views/useView";
import type { TreeRow } from "../views/view-types";

interface RowDetailProps {
  feed: MonitoringFeed;
  task: string;
  /** Its key, and the row itself if the tree's window has it. */
  rowKey: string;
  row: TreeRow | undefined;
  now: number;
  /** The detail has taken its place, from the rows. */
  onShown: () => void;
  onClose: () => void;
}

export function RowDetail(props: RowDetailProps) {
  const { feed, task, rowKey, row, now, onShown, onClose } = props;
  const isAsked = row === undefined;
  const own = useView(feed, "tree", isAsked ? { task, at: { key: rowKey }, count: 1 } : null);
  const shown = row ?? own.rows[0];
  // biome-ignore lint/correctness/useExhaustiveDependencies: once for each row.
  useLayoutEffect(() => onShown(), [rowKey]);
  if (shown === undefined || shown.k !== rowKey) return null;
  return (
    <div className="wf-detail" role="group" aria-label="Chosen row">
      {shown.kind !== "more" && <OutcomeIcon status={shown.status} failed={shown.failed} />}
      <div className="wf-detail-text">
        <p className="wf-detail-facts">
          <b dir="auto">{rowName(shown, task)}</b>
          {rowFacts(shown, now).map((fact) => (
            <span key={fact}>{fact}</span>
          ))}
          {shown.job !== null && shown.job !== rowName(shown, task) && (
            <span className="id">{shown.job}</span>
          )}
        </p>
        {shown.progress !== null && (
          <p className="wf-detail-progress">
            <ProgressMeter progress={shown.progress} />
          </p>
        )}
        {shown.error !== null && <p className="wf-detail-error c-failed">{shown.error}</p>}
      </div>
      <button type="button" className="icon-button" aria-label="Close the row" onClick={onClose}>
        <CloseIcon />
      </button>
    </div>
  );
}
