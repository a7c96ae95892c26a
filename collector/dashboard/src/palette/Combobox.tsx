/** A filter that is chosen from many values by typing a part of the name. */
import { memo, useRef, useState } from "react";
import { OptionList, useListbox } from "./OptionList";
import { matching, type Option } from "./options";

interface ComboboxProps {
  label: string;
  /** Text for no value. */
  all: string;
  value: string;
  /** Text for a value that is not among the options; default: the value. */
  valueLabel?: string | undefined;
  options: readonly Option[];
  /** What is not among the options; empty: nothing. */
  more?: string;
  onChange: (value: string) => void;
  /** Called with the text that is typed, empty when the list closes; for more options. */
  onType?: (text: string) => void;
}

/** Works by keyboard and touch; the list is drawn while it is open. */
export const Combobox = memo(function Combobox(props: ComboboxProps) {
  const { label, all, value, valueLabel = value, options, more = "", onChange, onType } = props;
  const field = useRef<HTMLInputElement>(null);
  /** Null: the list is closed. */
  const [typed, setTyped] = useState<string | null>(null);
  const type = (text: string | null) => {
    setTyped(text);
    onType?.(text ?? "");
  };
  const close = () => {
    if (typed !== null) type(null);
  };
  const isOpen = typed !== null;
  const every: readonly Option[] = [{ id: "", label: all }, ...options];
  const found = isOpen ? matching(typed === "" ? every : options, typed) : [];
  const listbox = useListbox(found, isOpen, typed ?? "", value, (option, event) => {
    onChange(option.id);
    close();
    // The on-screen keyboard has nothing more to do.
    const { nativeEvent } = event;
    if (nativeEvent instanceof PointerEvent && nativeEvent.pointerType === "touch")
      field.current?.blur();
  });
  const shown = options.find((option) => option.id === value)?.label ?? valueLabel;
  return (
    <span className="combo">
      <input
        ref={field}
        {...listbox.field}
        className={value ? "select is-set" : "select"}
        aria-label={label}
        title={value ? shown : undefined}
        autoComplete="off"
        spellCheck={false}
        maxLength={200}
        placeholder={isOpen && value ? shown : all}
        value={typed ?? (value ? shown : "")}
        // What is typed takes the place of the value that is shown.
        onFocus={(event) => event.target.select()}
        onClick={() => !isOpen && type("")}
        onChange={(event) => type(event.target.value)}
        onBlur={close}
        onKeyDown={(event) => {
          if (event.key === "Escape") {
            // The list closes, then the field is left, so that the page's keys work again; what else
            // Escape closes on the page stays open.
            event.stopPropagation();
            event.preventDefault();
            if (isOpen) close();
            else field.current?.blur();
          } else if (isOpen) listbox.onKey(event);
          else if (event.key === "ArrowDown" || event.key === "Enter") {
            event.preventDefault();
            type("");
          }
        }}
      />
      {isOpen && (
        <div className="combo-list">
          <OptionList
            listbox={listbox}
            label={label}
            chosen={value}
            total={found.length}
            none="Nothing has this text."
            more={typed === "" ? more : ""}
          />
        </div>
      )}
    </span>
  );
}, hasSameOptions);

/**
 * Compares options by their text: there are up to 200, made again four times a second with the
 * rows.
 */
function hasSameOptions(a: ComboboxProps, b: ComboboxProps): boolean {
  return (
    a.value === b.value &&
    a.valueLabel === b.valueLabel &&
    a.more === b.more &&
    a.options.length === b.options.length &&
    a.options.every(
      ({ id, label }, at) => id === b.options[at]?.id && label === b.options[at]?.label,
    )
  );
}
