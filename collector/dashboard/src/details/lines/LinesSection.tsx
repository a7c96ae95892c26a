/** The newest log lines of a row: they follow the end, unless one has scrolled up. */
import { type KeyboardEvent, memo, useLayoutEffect, useMemo, useRef, useState } from "react";
import { CopyButton } from "../../lib/CopyButton";
import { dateTime, timeOfDayMs } from "../../lib/format";
import type { MonitoringFeed } from "../../views/useMonitoringFeed";
import { useView } from "../../views/useView";
import type { LineRow } from "../../views/view-types";
import { copiedText, countText, levelWord, type ShownLine, shownLines, whyNone } from "./lines";

/** So far from the end, px, one still counts as being there. */
const END_PX = 24;

interface LinesSectionProps {
  feed: MonitoringFeed;
  now: number;
  task: string;
  /** Key of the row in the view `tree`. */
  node: string;
  /** Its status, and when it ended, ms; null while it is open. */
  status: string;
  end: number | null;
}

export function LinesSection({ feed, now, task, node, status, end }: LinesSectionProps) {
  const view = useView(feed, "lines", { task, node });
  const [text, setText] = useState("");
  const { head, rows } = view;
  const lines = useMemo(
    () => (head === null ? [] : shownLines(head, rows, text)),
    [head, rows, text],
  );
  const today = new Date(now).toDateString();
  return (
    <section className="details-lines" aria-label="Log lines">
      <header>
        <h3>Log lines</h3>
        {head !== null && rows.length > 0 && (
          <>
            <span className="muted num">
              {countText(head, text ? lines.length : rows.length, text !== "")}
            </span>
            <input
              type="search"
              aria-label="Search these lines"
              placeholder="Search these lines"
              value={text}
              maxLength={200}
              onChange={(event) => setText(event.target.value)}
              onKeyDown={(event) => clearFirst(event, text, setText)}
            />
            <CopyButton text={() => copiedText(lines)} label="Copy" />
          </>
        )}
      </header>
      {rows.length === 0 ? (
        <p className="muted">{whyNone(view, { status, end }, now)}</p>
      ) : (
        <LineList key={node} lines={lines} today={today} isSearched={text !== ""} />
      )}
    </section>
  );
}

/** Escape ends the search before it closes the details. */
function clearFirst(event: KeyboardEvent, text: string, setText: (text: string) => void): void {
  if (event.key !== "Escape" || text === "") return;
  event.stopPropagation();
  setText("");
}

interface LineListProps {
  lines: readonly ShownLine[];
  today: string;
  isSearched: boolean;
}

function LineList({ lines, today, isSearched }: LineListProps) {
  const box = useRef<HTMLDivElement>(null);
  const [isFollowed, setFollowed] = useState(true);
  // biome-ignore lint/correctness/useExhaustiveDependencies: new lines move the end.
  useLayoutEffect(() => {
    if (isFollowed && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [isFollowed, lines]);
  const onScroll = () => {
    const { scrollTop, scrollHeight, clientHeight } = box.current as HTMLDivElement;
    setFollowed(scrollHeight - scrollTop - clientHeight < END_PX);
  };
  if (lines.length === 0) return <p className="muted">No line has this text.</p>;
  return (
    <div className="details-lines-box">
      <div role="region" aria-label="Lines" tabIndex={0} ref={box} onScroll={onScroll}>
        <ol>
          {lines.map((one) =>
            one.kind === "gap" ? (
              <li key={one.key} className="details-gap num">
                {one.text}
              </li>
            ) : (
              <Line key={one.key} line={one.line} today={today} />
            ),
          )}
        </ol>
      </div>
      {!isFollowed && !isSearched && (
        <button type="button" className="button" onClick={() => setFollowed(true)}>
          Newest line
        </button>
      )}
    </div>
  );
}

const Line = memo(function Line({ line, today }: { line: LineRow; today: string }) {
  const { at, level, logger, text } = line;
  const word = levelWord(level);
  const isToday = new Date(at).toDateString() === today;
  return (
    <li className={`details-line is-${word}`}>
      <time dateTime={new Date(at).toISOString()} title={dateTime(at)}>
        {isToday ? timeOfDayMs(at) : dateTime(at)}
      </time>{" "}
      <b>{word}</b>{" "}
      <span className="details-logger" title={logger}>
        {logger}
      </span>{" "}
      <span dir="auto">{text}</span>
    </li>
  );
});
