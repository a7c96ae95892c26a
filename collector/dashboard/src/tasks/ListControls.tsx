/** What the list of tasks looks like: its groups, and rows or cards. */
import { Icon } from "../lib/icons";

interface ListControlsProps {
  group: string;
  onGroup: (group: string) => void;
  isRows: boolean;
  onRows: (isRows: boolean) => void;
}

export function ListControls({ group, onGroup, isRows, onRows }: ListControlsProps) {
  return (
    <>
      <select
        className={group ? "group-select is-set" : "group-select"}
        aria-label="Group tasks"
        title="Group tasks"
        value={group}
        onChange={(event) => onGroup(event.target.value)}
      >
        <option value="">No groups</option>
        <option value="project">By project</option>
        <option value="status">By status</option>
      </select>
      <button
        type="button"
        className="icon-button"
        aria-pressed={isRows}
        aria-label="Tasks as rows"
        title={isRows ? "Show tasks as cards" : "Show tasks as rows"}
        onClick={() => onRows(!isRows)}
      >
        <Icon>
          {isRows ? (
            <path d="M2.5 4h11M2.5 8h11M2.5 12h11" />
          ) : (
            <path d="M2.5 2.8h11v4.4h-11zM2.5 9.6h11v4h-11z" />
          )}
        </Icon>
      </button>
    </>
  );
}
