/** The list of research tasks. */
import { memo, type PointerEvent, useCallback, useRef, useState } from "react";
import { type Filters, isFiltering } from "../lib/filters";
import { count } from "../lib/format";
import { EmptyNote, Refreshing } from "../lib/ListNote";
import { TaskCard } from "../tasks/TaskCard";
import { useTaskWindow } from "../tasks/task-window";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import type { TasksHead } from "../views/view-types";

/** Cards of which it is remembered whether they are unfolded; the last drawn ones stay. */
const MAX_KNOWN_CARDS = 1000;
const NO_FILTERS: Filters = {};
const nothing = () => undefined;

export interface InProgressTasksProps {
  feed: MonitoringFeed;
  /** Which tasks; default: all that the feed shows. */
  filters?: Filters;
  /** Id of the task that is shown beside the list; null or left out: none. */
  focus?: string | null;
  /** Called with the id of the task whose title was pressed. */
  onFocus?: (taskId: string) => void;
}

/**
 * A card for each research task, in the collector's order: what needs attention first.
 *
 * Only a window of the list is in the document. The list stands still while the pointer or the
 * keyboard is in it, and says if the order has changed meanwhile. A card that was unfolded while its
 * task ran stays unfolded when it ends.
 */
export const InProgressTasks = memo(function InProgressTasks(props: InProgressTasksProps) {
  const { feed, filters = NO_FILTERS, focus = null, onFocus = nothing } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const shown = useTaskWindow(feed, filters, scroller);
  const { live, rows, first, isOrderChanged, hold } = shown;
  const [openCards] = useState(() => new Map<string, boolean>());
  const [, renderAgain] = useState(0);
  const toggle = useCallback(
    (taskId: string) => {
      openCards.set(taskId, !openCards.get(taskId));
      renderAgain((n) => n + 1);
    },
    [openCards],
  );
  const isOpen = (taskId: string, isRunning: boolean, index: number) => {
    const known = openCards.get(taskId) ?? (isRunning || index === 0);
    openCards.delete(taskId);
    openCards.set(taskId, known);
    if (openCards.size > MAX_KNOWN_CARDS) {
      const [oldest] = openCards.keys();
      openCards.delete(oldest as string);
    }
    return known;
  };
  // A finger does not hover: after a touch the list would stand still until the next one.
  const onPointer = (event: PointerEvent, isOver: boolean) => {
    if (event.pointerType !== "touch") hold(isOver);
  };
  const total = live.head?.total ?? rows.length;
  const isFiltered = isFiltering({ ...filters, task: "" });
  return (
    <section className="panel tasks" aria-label="Tasks">
      <header className="panel-head">
        <h2>Tasks</h2>
        {live.head && <Counts head={live.head} />}
        <Refreshing view={live} />
        {isOrderChanged && <span className="panel-end panel-note">order has changed</span>}
      </header>
      {rows.length === 0 && (
        <EmptyNote view={live}>{isFiltered ? "No tasks match." : "No tasks yet."}</EmptyNote>
      )}
      <div className="cards" ref={scroller} hidden={rows.length === 0}>
        <ol
          aria-busy={live.isRefreshing}
          style={{ paddingTop: shown.abovePx, paddingBottom: shown.belowPx }}
          onPointerEnter={(event) => onPointer(event, true)}
          onPointerLeave={(event) => onPointer(event, false)}
          onFocus={(event) => event.target.matches(":focus-visible") && hold(true)}
          onBlur={({ currentTarget, relatedTarget }) => {
            const isInside = relatedTarget instanceof Node && currentTarget.contains(relatedTarget);
            if (!isInside && !currentTarget.matches(":hover")) hold(false);
          }}
        >
          {rows.map((task, index) => (
            <li key={task.k} aria-setsize={total} aria-posinset={first + index + 1}>
              <TaskCard
                feed={feed}
                task={task}
                isOpen={isOpen(task.k, task.end === null, first + index)}
                isFocused={task.k === focus}
                onFocus={onFocus}
                onToggle={toggle}
              />
            </li>
          ))}
        </ol>
      </div>
    </section>
  );
});

/** How many tasks there are, how many of them pass the filters, and how many need attention. */
function Counts({ head }: { head: TasksHead }) {
  const { total, total_all: all, attention } = head;
  return (
    <span className="muted num">
      {total === all ? count(all) : `${count(total)} of ${count(all)}`}
      {attention > 0 && (
        <span className="c-failed" title="Stalled or failed tasks">
          {" "}
          · {count(attention)} need attention
        </span>
      )}
    </span>
  );
}
