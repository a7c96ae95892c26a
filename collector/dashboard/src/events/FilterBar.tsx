import { type KeyboardEvent, memo, type RefObject, useCallback, useEffect, useState } from "react";
import type { Status } from "../feed/wire";
import { CopyButton } from "../lib/CopyButton";
import { count, STATUS_LABELS, shortId, taskName, withSpaces } from "../lib/format";
import { CloseIcon, SearchIcon } from "../lib/icons";
import type { ChangeView, ViewState } from "../lib/url-state";
import { useTaskTitles } from "../tasks/task-titles";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useView } from "../views/useView";

/** Tasks that can be chosen from the list; the search finds others. */
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
    change({ project: "", task: "", type: "", status: "", text: "", all: "" });
  };
  return (
    <search className={isOpen ? "filters is-open" : "filters"}>
      <Select
        label="Project"
        all="All projects"
        value={view.project}
        options={(head?.projects ?? NO_IDS).map((id) => [id, id])}
        onChange={(project) => change({ project, task: "" })}
      />
      <Select
        label="Task"
        all="All tasks"
        value={view.task}
        valueLabel={names.get(view.task)}
        options={tasks.rows.map((task) => [
          task.k,
          task.title || task.type ? `${taskName(task)} · ${shortId(task.k)}` : task.k,
        ])}
        more={notListed > 0 ? `and ${count(notListed)} more: search for them` : ""}
        onChange={(task) => change({ task })}
      />
      <Select
        label="Type"
        all="All types"
        value={view.type}
        options={(head?.types ?? NO_IDS).map((type) => [type, withSpaces(type)])}
        onChange={(type) => change({ type })}
      />
      <Select
        label="Status"
        all="Any status"
        value={view.status}
        options={Object.entries(STATUS_LABELS) as [Status, string][]}
        onChange={(status) => change({ status })}
      />
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

interface SelectProps {
  label: string;
  all: string;
  value: string;
  /** Text for a value that is not among the options; default: the value. */
  valueLabel?: string | undefined;
  options: readonly (readonly [string, string])[];
  /** What is not among the options; empty: nothing. */
  more?: string;
  onChange: (value: string) => void;
}

const Select = memo(function Select(props: SelectProps) {
  const { label, all, value, valueLabel = value, options, more = "", onChange } = props;
  const isKnown = value === "" || options.some(([id]) => id === value);
  return (
    <select
      className={value ? "select is-set" : "select"}
      aria-label={label}
      value={value}
      onChange={(event) => onChange(event.target.value)}
    >
      <option value="">{all}</option>
      {!isKnown && <option value={value}>{valueLabel}</option>}
      {options.map(([id, text]) => (
        <option key={id} value={id}>
          {text}
        </option>
      ))}
      {more && <option disabled>{more}</option>}
    </select>
  );
}, hasSameOptions);

/**
 * Compares options by their text: there are up to 200, made again four times a second with the
 * rows.
 */
function hasSameOptions(a: SelectProps, b: SelectProps): boolean {
  return (
    a.value === b.value &&
    a.valueLabel === b.valueLabel &&
    a.more === b.more &&
    a.options.length === b.options.length &&
    a.options.every(([id, text], at) => id === b.options[at]?.[0] && text === b.options[at]?.[1])
  );
}
