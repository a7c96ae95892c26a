import { type RefObject, useState } from "react";
import type { Status } from "../feed/wire";
import { STATUS_LABELS } from "../lib/format";
import { CloseIcon, StatusIcon } from "../lib/icons";

const KEYS: readonly (readonly [string, string])[] = [
  ["Ctrl+K", "go to anything, do anything"],
  ["/", "search"],
  ["space", "pause and resume"],
  ["j k", "next and previous event"],
  ["p", "pin the task, or unpin it"],
  ["n N", "next and previous failure"],
  ["↑ ↓ ← →", "move and fold in the waterfall"],
  ["enter", "details of the row"],
  ["e w", "unfold and fold all its rows"],
  ["+ - 0", "zoom the waterfall in, out, reset"],
  ["a d", "pan the zoomed waterfall"],
  ["t", "theme: system, light, dark"],
  ["c", "copy a link to this view"],
  ["f", "fold the events away"],
  ["W", "wall mode: larger, no controls"],
  ["?", "this help"],
  ["esc", "close, clear the search"],
];

const MEANINGS: Record<Status, string> = {
  pending: "waiting in a queue",
  processing: "a worker is running it",
  completed: "ended without an error",
  retrying: "an attempt failed, it will run again",
  failed: "failed, and will not run again",
  stalled: "can no longer end by itself",
};

interface HelpDialogProps {
  dialog: RefObject<HTMLDialogElement | null>;
  traceTemplate: string;
  onTraceTemplate: (template: string) => boolean;
}

/** Keyboard shortcuts, the meaning of each status, and the template of trace links. */
export function HelpDialog({ dialog, traceTemplate, onTraceTemplate }: HelpDialogProps) {
  const [isInvalid, setIsInvalid] = useState(false);
  return (
    <dialog ref={dialog} className="help" aria-labelledby="help-title">
      <header>
        <h2 id="help-title">Keys and meanings</h2>
        <button
          type="button"
          className="icon-button"
          aria-label="Close"
          onClick={() => dialog.current?.close()}
        >
          <CloseIcon />
        </button>
      </header>
      <div className="help-columns">
        <dl>
          {KEYS.map(([key, meaning]) => (
            <div key={key}>
              <dt>
                {key.split(" ").map((each) => (
                  <kbd key={each}>{each}</kbd>
                ))}
              </dt>
              <dd>{meaning}</dd>
            </div>
          ))}
        </dl>
        <dl>
          {(Object.keys(MEANINGS) as Status[]).map((status) => (
            <div key={status}>
              <dt>
                <StatusIcon status={status} /> {STATUS_LABELS[status]}
              </dt>
              <dd>{MEANINGS[status]}</dd>
            </div>
          ))}
        </dl>
      </div>
      <label className="help-field">
        <span>
          Link to traces in Jaeger, Tempo or another tool; <code>{"{trace_id}"}</code> stands for
          the id
        </span>
        <input
          type="url"
          defaultValue={traceTemplate}
          placeholder="http://localhost:16686/trace/{trace_id}"
          aria-invalid={isInvalid}
          onChange={(event) => setIsInvalid(!onTraceTemplate(event.target.value.trim()))}
        />
        {isInvalid && (
          <span className="c-failed">An http or https address with {"{trace_id}"} in it.</span>
        )}
      </label>
    </dialog>
  );
}
