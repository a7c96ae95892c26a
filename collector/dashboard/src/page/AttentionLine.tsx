/** The header's sentence: what runs, and what needs attention, each part a button to its details. */
import { memo } from "react";
import { useMedia } from "../lib/browser";
import { count } from "../lib/format";
import { StatusIcon } from "../lib/icons";
import type { ViewState } from "../lib/url-state";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useNow } from "../views/useNow";
import { useOverview } from "../views/useOverview";
import { useView } from "../views/useView";
import { partsOf, runningText, troublesOf } from "./attention";

const QUEUES = 60;

interface AttentionLineProps {
  feed: MonitoringFeed;
  isWall: boolean;
  onGo: (to: Partial<ViewState>) => void;
  /** Shows everything that needs attention. */
  onAll: () => void;
}

export const AttentionLine = memo(function AttentionLine(props: AttentionLineProps) {
  const { feed, isWall, onGo, onAll } = props;
  const head = useOverview(feed);
  const now = useNow(feed);
  // Parts that are said; the palette lists all.
  const isWide = useMedia("(min-width: 1500px)");
  const shown = isWide && !isWall ? 3 : 2;
  const troubles = troublesOf(head);
  const isStuck = troubles?.some(({ kind }) => kind === "queue_stuck");
  const queues = useView(feed, "queues", isStuck ? { count: QUEUES } : null);
  const parts = partsOf(troubles ?? [], now, queues.rows);
  const running = runningText(head);
  if (running === null) return <p className="says" />;
  const more = parts.length - shown;
  return (
    <p className={parts.length > 0 ? "says is-trouble" : "says"} data-testid="says">
      <span className="says-running num">
        {running}
        {troubles?.length === 0 && ", nothing needs attention"}
      </span>
      {parts.slice(0, shown).map(({ kind, status, text, to }) => (
        <button
          key={`${kind} ${JSON.stringify(to)}`}
          type="button"
          className={`says-part c-${status} num`}
          title={text}
          onClick={() => onGo(to)}
        >
          <StatusIcon status={status} />
          <span>{text}</span>
        </button>
      ))}
      {more > 0 && (
        <button type="button" className="link num" onClick={onAll}>
          and {count(more)} more
        </button>
      )}
    </p>
  );
});
