/** A text field with a list below it: the combobox of WAI-ARIA, for the palette and the filters. */
import { type KeyboardEvent, type MouseEvent, useEffect, useId, useRef, useState } from "react";
import { count } from "../lib/format";
import { MAX_DRAWN, movedBy, type Option } from "./options";

export interface Listbox<T extends Option> {
  options: readonly T[];
  /** Index of the option that Enter chooses. */
  at: number;
  listId: string;
  setActive: (id: string) => void;
  choose: (option: T, event: MouseEvent | KeyboardEvent) => void;
  /** Attributes of the text field while the list is shown. */
  field: {
    role: "combobox";
    "aria-expanded": boolean;
    "aria-controls": string | undefined;
    "aria-autocomplete": "list";
    "aria-activedescendant": string | undefined;
  };
  /** Moves through the list and chooses; returns whether the key was for the list. */
  onKey: (event: KeyboardEvent) => boolean;
}

/**
 * The state of a list below a text field. The focus stays in the field; the active option is named
 * by `aria-activedescendant` and stays the same when options come or go around it.
 *
 * Args: `first` the id that is active at first and whenever `of` (the typed text) changes; empty: the
 * first option.
 */
export function useListbox<T extends Option>(
  all: readonly T[],
  isOpen: boolean,
  of: string,
  first: string,
  choose: Listbox<T>["choose"],
): Listbox<T> {
  const listId = useId();
  const [active, setActive] = useState({ id: first, of });
  const options = all.length > MAX_DRAWN ? all.slice(0, MAX_DRAWN) : all;
  const activeId = isOpen && active.of === of ? active.id : of === "" ? first : "";
  const at = Math.max(
    0,
    options.findIndex((option) => option.id === activeId),
  );
  const isShown = isOpen && options.length > 0;
  return {
    options,
    at,
    listId,
    choose,
    setActive: (id) => setActive({ id, of }),
    field: {
      role: "combobox",
      "aria-expanded": isShown,
      "aria-controls": isShown ? listId : undefined,
      "aria-autocomplete": "list",
      "aria-activedescendant": isShown ? `${listId}-${at}` : undefined,
    },
    onKey: (event) => {
      if (event.nativeEvent.isComposing) return false;
      const to = movedBy(event.key, at, options.length);
      const option = options[to ?? at];
      if (option === undefined || (to === null && event.key !== "Enter")) return false;
      event.preventDefault();
      if (to === null) choose(option, event);
      else setActive({ id: option.id, of });
      return true;
    },
  };
}

interface OptionListProps<T extends Option> {
  listbox: Listbox<T>;
  label: string;
  /** Id of the option that is in effect now; undefined: none is. */
  chosen?: string;
  /** How many options there are, with those that are not drawn. */
  total: number;
  /** What is said instead of an empty list. */
  none: string;
  /** What is said below the list; empty: nothing. */
  more?: string;
}

export function OptionList<T extends Option>(props: OptionListProps<T>) {
  const { listbox, label, chosen, total, none, more = "" } = props;
  const { options, at, listId, setActive, choose } = listbox;
  const active = useRef<HTMLDivElement>(null);
  const activeId = options[at]?.id;
  // biome-ignore lint/correctness/useExhaustiveDependencies: another option is active.
  useEffect(() => {
    active.current?.scrollIntoView({ block: "nearest" });
  }, [activeId]);
  const rest = total - options.length;
  const note = rest > 0 ? `and ${count(rest)} more: type a part of the name` : more;
  return (
    <>
      {options.length === 0 && (
        <p className="option-note" role="status">
          {none}
        </p>
      )}
      {options.length > 0 && (
        // The focus stays in the field: a press on the list does not take it.
        <div
          role="listbox"
          id={listId}
          aria-label={label}
          onMouseDown={(event) => event.preventDefault()}
        >
          {options.map((option, index) => (
            <div
              key={option.id}
              id={`${listId}-${index}`}
              role="option"
              aria-selected={chosen === undefined ? index === at : option.id === chosen}
              className={index === at ? "option is-active" : "option"}
              ref={index === at ? active : undefined}
              onMouseMove={() => index !== at && setActive(option.id)}
              onClick={(event) => choose(option, event)}
            >
              <span className="option-label" dir="auto">
                {option.label}
              </span>
              {option.detail && <small className="option-detail">{option.detail}</small>}
              {option.kind && <small className="option-kind">{option.kind}</small>}
            </div>
          ))}
        </div>
      )}
      {note && <p className="option-note num">{note}</p>}
    </>
  );
}
