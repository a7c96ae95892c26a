/** The waterfall: what one research task consists of, as a tree over time. */
import { memo } from "react";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { Chart } from "./Chart";

/** Rows that are shown: those that pass all that is given here, and the rows above them. */
export interface WaterfallFilter {
  /** One of these rows; empty, as for the others: of any. */
  status?: string;
  /** Job type, or name of a phase. */
  type?: string;
  text?: string;
}

export interface WaterfallProps {
  feed: MonitoringFeed;
  /** Id of the research task; null: none is chosen. */
  task: string | null;
  filter?: WaterfallFilter;
  /** Key of the row to show and mark, as in the address; empty: none. */
  node?: string;
  /** The user has chosen a row; empty: none any more. */
  onNode?: (key: string) => void;
  /** The user has clicked a row, or chosen it with Enter (`isByKey`); default: `onNode` is called. */
  onOpen?: (key: string, isByKey: boolean) => void;
  /** Whether the details of the chosen row are shown elsewhere: then the chart does not. */
  isDetailed?: boolean;
  /** Id of the job whose newest attempt is shown and marked, if no `node` is. */
  job?: string;
  /** Grows with each request to show `node` or `job`, so that the same can be shown again. */
  request?: number;
  /** Zoom and folds as text, as in the address; without them the chart keeps its own state. */
  zoom?: string;
  onZoom?: (zoom: string) => void;
  folds?: string;
  onFolds?: (folds: string) => void;
  /** The URL of a trace in another program; null: there is none. */
  traceLink?: (traceId: string | undefined) => string | null;
  onClose?: (() => void) | undefined;
}

/** Phases, attempts of jobs and spans of one research task; the bars of open ones grow. */
export const Waterfall = memo(function Waterfall(props: WaterfallProps) {
  const { task } = props;
  if (task !== null) return <Chart key={task} {...props} task={task} />;
  return (
    <section className="panel waterfall" aria-label="Waterfall">
      <header className="panel-head">
        <h2>Waterfall</h2>
      </header>
      <p className="none">Choose a task to see its phases and jobs over time.</p>
    </section>
  );
});
