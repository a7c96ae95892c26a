/** The head of the waterfall: which task, what of it is shown, and its buttons. */
import { useMedia } from "../lib/browser";
import { dateTime, taskName, timeOfDay, withSpaces } from "../lib/format";
import { CloseIcon, ExternalIcon } from "../lib/icons";
import { isToday, timeWithDay } from "../names/days";
import { MiddleName } from "../names/MiddleName";
import { OutcomeIcon } from "../tasks/marks";
import type { TreeWindow } from "../tree/window";
import { useView } from "../views/useView";
import type { ZoomRange } from "./time-axis";
import type { WaterfallProps } from "./Waterfall";
import { Legend } from "./WaterfallRow";

/** A filtered list of an open task that is older than this says when it was made. */
const OLD_LIST_MS = 3000;

interface ChartHeadProps extends Omit<WaterfallProps, "zoom" | "onZoom"> {
  task: string;
  tree: TreeWindow;
  zoom: ZoomRange;
  onResetZoom?: () => void;
  isMatchesOnly?: boolean;
  onMatchesOnly?: (isMatchesOnly: boolean) => void;
  onNextFailure?: (step: 1 | -1) => void;
}

export function ChartHead(props: ChartHeadProps) {
  const { feed, task, tree, filter, zoom, traceLink, onClose, isMatchesOnly = true } = props;
  const isWide = useMedia("(min-width: 1280px)");
  const { head, rows, at } = tree.view;
  const [shown] = useView(feed, "tasks", { keys: [task], count: 1 }).rows;
  const root = head?.path[0] ?? rows[0];
  const name = shown ? taskName(shown) : withSpaces(root?.name ?? task);
  const link = traceLink?.(shown?.trace ?? undefined) ?? null;
  // The list of a task that is over is made once: it stays true.
  const isOldList =
    head !== null && head.end === null && (at ?? 0) - (head.as_of ?? Infinity) > OLD_LIST_MS;
  const start = head?.start ?? null;
  const now = at ?? null;
  const hasFilter = Boolean(filter?.status || filter?.type || filter?.text);
  return (
    <header className="panel-head">
      <h2>Waterfall</h2>
      <span className="wf-title" title={task}>
        {head && <OutcomeIcon status={head.status} failed={head.failed} />}
        <MiddleName name={name} />
        {start !== null && now !== null && !isToday(start, now) && (
          <span className="muted num" title={dateTime(start)}>
            {timeWithDay(start, now)}
          </span>
        )}
      </span>
      {head !== null && head.matches !== null && (
        <span className="wf-matches muted num" role="status">
          {matchesText(head.matches, (root?.n ?? 0) + 1)}
          {isOldList ? ` as of ${timeOfDay(head.as_of ?? 0)}` : ""}
        </span>
      )}
      <span className="panel-end">
        {isWide && head?.matches === null && <Legend />}
        {hasFilter && props.onMatchesOnly && (
          <button
            type="button"
            className={`button quiet${isMatchesOnly ? " is-on" : ""}`}
            aria-pressed={isMatchesOnly}
            onClick={() => props.onMatchesOnly?.(!isMatchesOnly)}
          >
            Matches only
          </button>
        )}
        {zoom && (
          <button type="button" className="button quiet" onClick={props.onResetZoom}>
            Reset zoom
          </button>
        )}
        {head !== null && head.failed > 0 && (
          <button
            type="button"
            className="button quiet"
            title="Next failed row: n, the one before: N"
            onClick={(event) => props.onNextFailure?.(event.shiftKey ? -1 : 1)}
          >
            Next failure
          </button>
        )}
        {link && (
          <a className="button quiet" href={link} target="_blank" rel="noopener noreferrer">
            <ExternalIcon /> Trace
          </a>
        )}
        {onClose && (
          <button type="button" className="icon-button" aria-label="Close" onClick={onClose}>
            <CloseIcon />
          </button>
        )}
      </span>
    </header>
  );
}

/** `12 matches of 48,254`. */
export function matchesText(matches: number, rows: number): string {
  const number = (value: number) => value.toLocaleString("en-US");
  return `${number(matches)} ${matches === 1 ? "match" : "matches"} of ${number(Math.max(rows, matches))}`;
}
