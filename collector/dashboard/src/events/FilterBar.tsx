import { memo, type RefObject, useMemo, useState } from "react";
import { type MonitoringFeed, useSlice } from "../feed/useMonitoringFeed";
import type { Status } from "../feed/wire";
import { useCopy } from "../lib/browser";
import { STATUS_LABELS, shortId, taskName, withSpaces } from "../lib/format";
import { CheckIcon, CloseIcon, LinkIcon, SearchIcon } from "../lib/icons";
import type { ChangeView, ViewState } from "../lib/url-state";

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
  const { cards, projects, types } = useSlice(feed.store, "tasks");
  const [isCopied, copy] = useCopy();
  const [isOpen, setOpen] = useState(false);
  const phases = useMemo(
    () => [...new Set(cards.flatMap((card) => card.phases.map((phase) => phase.name)))],
    [cards],
  );
  const isFiltered = Boolean(
    view.project || view.task || view.type || view.status || view.text || view.all,
  );
  const clear = () => change({ project: "", task: "", type: "", status: "", text: "", all: "" });
  return (
    <search className={isOpen ? "filters is-open" : "filters"}>
      <Select
        label="Project"
        all="All projects"
        value={view.project}
        options={projects.map((id) => [id, id])}
        onChange={(project) => change({ project, task: "", focus: "" })}
      />
      <Select
        label="Task"
        all="All tasks"
        value={view.task}
        options={cards.map((card) => [
          card.taskId,
          card.title || card.taskType ? `${taskName(card)} · ${shortId(card.taskId)}` : card.taskId,
        ])}
        onChange={(task) => change({ task, ...(task ? { focus: task } : {}) })}
      />
      <Select
        label="Type"
        all="All types"
        value={view.type}
        options={[...phases, ...types.filter((type) => !phases.includes(type))].map((type) => [
          type,
          withSpaces(type),
        ])}
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
          value={view.text}
          maxLength={200}
          onChange={(event) => change({ text: event.target.value })}
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
        <button
          type="button"
          className="button quiet"
          onClick={() => copy(link())}
          title="Copy a link to exactly this view"
        >
          {isCopied ? <CheckIcon /> : <LinkIcon />}
          <span className="copy-label">{isCopied ? "Copied" : "Copy link"}</span>
        </button>
      </span>
    </search>
  );
});

interface SelectProps {
  label: string;
  all: string;
  value: string;
  options: readonly (readonly [string, string])[];
  onChange: (value: string) => void;
}

const Select = memo(function Select({ label, all, value, options, onChange }: SelectProps) {
  const isKnown = value === "" || options.some(([id]) => id === value);
  return (
    <select
      className={value ? "select is-set" : "select"}
      aria-label={label}
      value={value}
      onChange={(event) => onChange(event.target.value)}
    >
      <option value="">{all}</option>
      {!isKnown && <option value={value}>{value}</option>}
      {options.map(([id, text]) => (
        <option key={id} value={id}>
          {text}
        </option>
      ))}
    </select>
  );
}, hasSameOptions);

/**
 * Compares options by their text: there are up to 400, made again four times a second with the
 * cards.
 */
function hasSameOptions(a: SelectProps, b: SelectProps): boolean {
  return (
    a.value === b.value &&
    a.options.length === b.options.length &&
    a.options.every(([id, text], at) => id === b.options[at]?.[0] && text === b.options[at]?.[1])
  );
}
