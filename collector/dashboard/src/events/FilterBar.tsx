import { type KeyboardEvent, memo, type RefObject, useCallback, useEffect, useState } from "react";
import { CopyButton } from "../lib/CopyButton";
import { count, STATUS_LABELS, shortId, taskName, withSpaces } from "../lib/format";
import { CloseIcon, SearchIcon } from "../lib/icons";
import type { ChangeView, ViewState } from "../lib/url-state";
import { Combobox } from "../palette/Combobox";
import { useRested } from "../palette/found";
import { MAX_DRAWN, type Option } from "../palette/options";
import { NO_FILTER } from "../palette/page-commands";
import { useTaskTitles } from "../tasks/task-titles";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useView } from "../views/useView";
import type { SearchRow } from "../views/view-types";

/** Tasks that are listed before anything is typed. */
const TASKS = 40;
const TYPING_RESTS_MS = 200;
const NO_IDS: readonly string[] = [];

interface FilterBarProps {
  feed: MonitoringFeed;
  view: ViewState;
  change: ChangeView;
  /** Returns the URL of the current view. */
  link: () => string;
  searchRef: RefObject<HTMLInputElement | null>;
}

/** The filters, the search and "Copy link"; every choice is also in the URL. */
export const FilterBar = memo(function FilterBar({
  feed,
  view,
  change,
  link,
  searchRef,
}: FilterBarProps) {
  const { head } = useView(feed, "overview", {});
  // The same window as the unfiltered list of tasks, so that it is usually no further subscription.
  const tasks = useView(feed, "tasks", { at: { row: 0 }, count: TASKS });
  const isListed = tasks.rows.some((task) => task.k === view.task);
  const names = useTaskTitles(feed, view.task && !isListed ? [view.task] : NO_IDS);
  const [taskText, setTaskText] = useState("");
  const asked = useRested(taskText.trim(), TYPING_RESTS_MS);
  const found = useView(
    feed,
    "search",
    asked === "" ? null : { text: asked, among: "tasks", count: MAX_DRAWN },
  );
  const notListed = (tasks.head?.total ?? 0) - tasks.rows.length;
  const [isOpen, setOpen] = useState(false);
  const isFiltered = Boolean(
    view.project || view.task || view.type || view.status || view.text || view.all,
  );
  // Each text is a question to the collector, so it is asked when the typing rests.
  const [typed, setTyped] = useState<string | null>(null);
  const commit = useCallback(
    (text: string) => {
      setTyped(null);
      change({ text });
    },
    [change],
  );
  useEffect(() => {
    if (typed === null) return;
    const timer = setTimeout(() => commit(typed), TYPING_RESTS_MS);
    return () => clearTimeout(timer);
  }, [typed, commit]);
  const onSearchKey = (event: KeyboardEvent) => {
    if (typed === null) return;
    // Escape also reaches the page, which empties the search.
    if (event.key === "Escape") setTyped(null);
    if (event.key === "Enter") commit(typed);
  };
  const clear = () => {
    setTyped(null);
    change(NO_FILTER);
  };
  return (
    <search className={isOpen ? "filters is-open" : "filters"}>
      <Combobox
        label="Project"
        all="All projects"
        value={view.project}
        options={(head?.projects ?? NO_IDS).map((id) => ({ id, label: id }))}
        onChange={(project) => change({ project, task: "" })}
      />
      <Combobox
        label="Task"
        all="All tasks"
        value={view.task}
        valueLabel={names.get(view.task)}
        options={taskOptions([...tasks.rows, ...found.rows.map(foundTask)])}
        more={notListed > 0 ? `and ${count(notListed)} more: type a part of the title or id` : ""}
        onChange={(task) => change({ task })}
        onType={setTaskText}
      />
      <Combobox
        label="Type"
        all="All types"
        value={view.type}
        options={(head?.types ?? NO_IDS).map((id) => ({ id, label: withSpaces(id) }))}
        onChange={(type) => change({ type })}
      />
      <select
        className={view.status ? "select is-set" : "select"}
        aria-label="Status"
        value={view.status}
        onChange={(event) => change({ status: event.target.value })}
      >
        <option value="">Any status</option>
        {Object.entries(STATUS_LABELS).map(([status, text]) => (
          <option key={status} value={status}>
            {text}
          </option>
        ))}
      </select>
      <label className="search-box">
        <SearchIcon />
        <span className="offscreen">Search tasks, events and failures</span>
        <input
          ref={searchRef}
          type="search"
          placeholder="Search"
          value={typed ?? view.text}
          maxLength={200}
          onChange={(event) => setTyped(event.target.value)}
          onKeyDown={onSearchKey}
        />
        <kbd aria-hidden="true">/</kbd>
      </label>
      <button
        type="button"
        className="button filters-toggle"
        aria-expanded={isOpen}
        onClick={() => setOpen(!isOpen)}
      >
        Filters
      </button>
      <span className="filters-end">
        {isFiltered && (
          <button type="button" className="button quiet" onClick={clear}>
            <CloseIcon /> Clear
          </button>
        )}
        <CopyButton
          text={link}
          label="Copy link"
          title="Copy a link to exactly this view"
          isLink
          isShort
        />
      </span>
    </search>
  );
});

interface NamedTask {
  readonly k: string;
  readonly title: string | null;
  readonly type: string | null;
}

function foundTask({ task, name }: SearchRow): NamedTask {
  return { k: task, title: name, type: null };
}

/** An option for each task, once, by name: the list does not move while one chooses. */
function taskOptions(tasks: readonly NamedTask[]): readonly Option[] {
  const options = new Map<string, Option>();
  for (const task of tasks) {
    const label = taskName(task);
    const detail = label === task.k ? undefined : shortId(task.k);
    if (!options.has(task.k)) options.set(task.k, { id: task.k, label, detail });
  }
  return [...options.values()].sort((a, b) => (a.label < b.label ? -1 : 1));
}
