/** The command palette: go to a task, job, worker or queue, or do what the page can do, by typing. */
import { useEffect, useRef, useState } from "react";
import { readView, type ViewState } from "../lib/url-state";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { type Found, useFound } from "./found";
import { OptionList, useListbox } from "./OptionList";
import { matching, type Option } from "./options";
import { useSavedViews } from "./saved-views";

/** What the page can do. */
export interface Command extends Option {
  run: () => void;
}

interface PaletteProps {
  feed: MonitoringFeed;
  commands: readonly Command[];
  /** Shows a part of the page, which takes the focus. */
  onGo: (to: Partial<ViewState>) => void;
  onClose: () => void;
}

/** What Enter does with the text: chooses an option, names a view to save, or removes one. */
type Mode = "choose" | "save" | "remove";

const PLACEHOLDERS: Record<Mode, string> = {
  choose: "Go to a task, job, worker, queue, or do…",
  save: "A name for this view",
  remove: "Which view to remove?",
};

const NOTHING: Record<Found["state"], string> = {
  asking: "Asking the collector…",
  failed: "The collector did not answer.",
  answered: "Nothing found.",
};

/** A modal dialog; closing it gives the focus back to what had it. */
export function Palette({ feed, commands, onGo, onClose }: PaletteProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [typed, setTyped] = useState("");
  const [mode, setMode] = useState<Mode>("choose");
  const { views, save, remove } = useSavedViews();
  const found = useFound(feed, mode === "choose" ? typed : "");
  useEffect(() => {
    if (!dialog.current?.open) dialog.current?.showModal();
  }, []);

  const askFor = (next: Mode) => {
    setTyped("");
    setMode(next);
  };
  const saved = views.map(({ name, query }): Command => {
    const run = () => (mode === "remove" ? remove(name) : onGo({ ...readView(query), paused: "" }));
    return { id: `view ${name}`, label: name, kind: "saved view", run };
  });
  const own: Command[] = [
    { id: "save", label: "Save this view", detail: "in this browser", run: () => askFor("save") },
  ];
  if (views.length > 0)
    own.push({ id: "remove", label: "Remove a saved view", run: () => askFor("remove") });
  const all: readonly Command[] =
    mode === "choose" ? [...saved, ...commands, ...own] : mode === "remove" ? saved : [];
  const places = found.places.map((place): Command => ({ ...place, run: () => onGo(place.to) }));
  const options = [...matching(all, typed), ...places];

  const close = () => {
    dialog.current?.close();
    // Not only by the dialog's event, which comes after the keys that follow at once.
    onClose();
  };
  const choose = ({ id, run }: Command) => {
    if (id !== "save" && id !== "remove") close();
    run();
  };
  const listbox = useListbox(options, true, `${mode} ${typed}`, "", choose);
  const none = mode === "save" ? "Enter saves it." : NOTHING[found.state];
  return (
    <dialog
      ref={dialog}
      className="palette"
      aria-label="Command palette"
      onClose={onClose}
      onKeyDown={(event) => {
        const isSame = event.key === "k" && (event.ctrlKey || event.metaKey);
        if (!isSame && event.key !== "Escape") return;
        event.preventDefault();
        // The page's own keys would open it again, or close the details below.
        event.stopPropagation();
        close();
      }}
      // A press beside the palette: the dialog itself, which has no padding.
      onClick={(event) => event.target === dialog.current && close()}
    >
      <div className="palette-inner">
        <input
          {...listbox.field}
          aria-label={PLACEHOLDERS[mode]}
          placeholder={PLACEHOLDERS[mode]}
          autoComplete="off"
          spellCheck={false}
          maxLength={200}
          value={typed}
          onChange={(event) => setTyped(event.target.value)}
          onKeyDown={(event) => {
            if (mode === "save" && event.key === "Enter") {
              save(typed, window.location.search);
              close();
            } else listbox.onKey(event);
          }}
        />
        <div className="palette-list">
          <OptionList listbox={listbox} label="Found" total={options.length} none={none} />
        </div>
      </div>
    </dialog>
  );
}
