/** The list of research tasks. */
import {
  Fragment,
  type KeyboardEvent,
  memo,
  type PointerEvent,
  useCallback,
  useRef,
  useState,
} from "react";
import { type Filters, isFiltering } from "../lib/filters";
import { count } from "../lib/format";
import { usePanelKeys } from "../lib/keyboard";
import { EmptyNote, Refreshing } from "../lib/ListNote";
import { ListControls } from "../tasks/ListControls";
import { readPins, togglePin, writePins } from "../tasks/pins";
import { TaskCard } from "../tasks/TaskCard";
import { TaskLine } from "../tasks/TaskLine";
import { isDense, readGrouping, type Section, sectionAt } from "../tasks/task-sections";
import { useTaskWindow } from "../tasks/task-window";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import type { TasksHead } from "../views/view-types";
import { useControllable } from "../waterfall/use-controllable";

/** Cards of which it is remembered whether they are unfolded; the last drawn ones stay. */
const MAX_KNOWN_CARDS = 1000;
const NO_FILTERS: Filters = {};
const nothing = () => undefined;
const asItIs = (text: string) => text;

export interface InProgressTasksProps {
  feed: MonitoringFeed;
  /** Which tasks; default: all that the feed shows. */
  filters?: Filters;
  /** Id of the task that is shown beside the list; null or left out: none. */
  focus?: string | null;
  /** Called with the id of the task whose title was pressed. */
  onFocus?: (taskId: string) => void;
  /**
   * `rows` or `cards`, empty: by the number of tasks; with a function that keeps another choice.
   * Without both, as for the following, the list keeps it.
   */
  layout?: string;
  onLayout?: (layout: string) => void;
  /** `project` or `status`; empty: no groups. */
  group?: string;
  onGroup?: (group: string) => void;
  /** Ids of the tasks at the top of the list, as in the address. */
  pins?: string;
  onPins?: (pins: string) => void;
}

/**
 * A card or row for each research task, in the collector's order: what needs attention first.
 *
 * Only a window of the list is in the document. The list stands still while the pointer or the
 * keyboard is in it, and says if the order has changed meanwhile. A card that was unfolded while its
 * task ran stays unfolded when it ends.
 */
export const InProgressTasks = memo(function InProgressTasks(props: InProgressTasksProps) {
  const { feed, filters = NO_FILTERS, focus = null, onFocus = nothing } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const [layout, setLayout] = useControllable(props.layout, props.onLayout, asItIs, asItIs);
  const [group, setGroup] = useControllable(props.group, props.onGroup, asItIs, asItIs);
  const [pins, setPins] = useControllable(props.pins, props.onPins, readPins, writePins);
  const [wasDense, setDense] = useState(layout === "rows");
  const grouping = readGrouping(group);
  const shape = { grouping, pins, isDense: wasDense };
  const shown = useTaskWindow(feed, filters, shape, scroller);
  const { live, rows, first, sections, isOrderChanged, hold } = shown;
  const isRows = live.head === null ? wasDense : isDense(layout, live.head.total_all, wasDense);
  if (isRows !== wasDense) setDense(isRows);

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
  const latestPins = useRef(pins);
  latestPins.current = pins;
  const pin = useCallback(
    (taskId: string) => setPins(togglePin(latestPins.current, taskId)),
    [setPins],
  );
  usePanelKeys({
    "ob:pin": () => {
      const at = document.activeElement?.closest<HTMLElement>("[data-task]");
      const taskId = at?.dataset["task"] ?? focus;
      if (taskId !== null) pin(taskId);
    },
  });

  // A finger does not hover: after a touch the list would stand still until the next one.
  const onPointer = (event: PointerEvent, isOver: boolean) => {
    if (event.pointerType !== "touch") hold(isOver);
  };
  // The row that the keyboard is at; while it is in none, Tab goes to the shown task.
  const [current, setCurrent] = useState<string | null>(null);
  const isListed = (taskId: string | null) => rows.some((task) => task.k === taskId);
  const tabStop = [current, focus].find(isListed) ?? rows[0]?.k;
  const total = live.head?.total ?? rows.length;
  const oldRows = new Set(live.partial?.rows);
  const isFiltered = isFiltering({ ...filters, task: "" });
  return (
    <section className={`panel tasks${isRows ? " is-rows" : ""}`} aria-label="Tasks">
      <header className="panel-head">
        <h2>Tasks</h2>
        {live.head && <Counts head={live.head} />}
        <Refreshing view={live} />
        <span className="panel-end tasks-end">
          {isOrderChanged && <span className="panel-note">order has changed</span>}
          {total > 0 && (
            <ListControls
              group={grouping ?? ""}
              onGroup={setGroup}
              isRows={isRows}
              onRows={(isOn) => {
                const isAutomatic = isDense("", live.head?.total_all ?? 0, isRows) === isOn;
                setLayout(isAutomatic ? "" : isOn ? "rows" : "cards");
              }}
            />
          )}
        </span>
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
          onKeyDown={moveFocus}
          onFocus={(event) => {
            const task = event.target.closest<HTMLElement>("[data-task]")?.dataset["task"];
            if (task !== undefined) setCurrent(task);
            if (event.target.matches(":focus-visible")) hold(true);
          }}
          onBlur={({ currentTarget, relatedTarget }) => {
            const isInside = relatedTarget instanceof Node && currentTarget.contains(relatedTarget);
            if (!isInside && !currentTarget.matches(":hover")) hold(false);
          }}
        >
          {rows.map((task, index) => {
            const section = sectionAt(sections, first + index);
            const isNewSection = index === 0 || section?.start === first + index;
            const state = {
              feed,
              task,
              isFocused: task.k === focus,
              isPinned: pins.includes(task.k),
              onFocus,
              onPin: pin,
            };
            return (
              <Fragment key={task.k}>
                {section && isNewSection && <SectionHead section={section} />}
                <li
                  className={oldRows.has(task.k) ? "is-old" : undefined}
                  aria-setsize={total}
                  aria-posinset={first + index + 1}
                >
                  {isRows ? (
                    <TaskLine {...state} isTabStop={task.k === tabStop} />
                  ) : (
                    <TaskCard
                      {...state}
                      isOpen={isOpen(task.k, task.end === null, first + index)}
                      onToggle={toggle}
                    />
                  )}
                </li>
              </Fragment>
            );
          })}
        </ol>
      </div>
    </section>
  );
});

function SectionHead({ section }: { section: Section }) {
  return (
    <li className="group-head">
      <h3 dir="auto">{section.name}</h3>
      <span className="muted num">{count(section.count)}</span>
    </li>
  );
}

/** Up and Down go from the name of one task to the next, Home and End to those of the window. */
function moveFocus(event: KeyboardEvent<HTMLElement>): void {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const names = [...event.currentTarget.querySelectorAll<HTMLElement>("[data-choose]")];
  const task = (event.target as Element).closest("[data-task]");
  const at = names.findIndex((name) => name.closest("[data-task]") === task);
  const goals: Record<string, number> = {
    ArrowDown: at + 1,
    ArrowUp: at - 1,
    Home: 0,
    End: names.length - 1,
  };
  const goal = goals[event.key];
  if (goal === undefined) return;
  event.preventDefault();
  names[goal]?.focus();
}

/** How many tasks there are, how many of them pass the filters, and how many need attention. */
function Counts({ head }: { head: TasksHead }) {
  const { total, total_all: all, attention } = head;
  return (
    <span className="tasks-counts muted num">
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
