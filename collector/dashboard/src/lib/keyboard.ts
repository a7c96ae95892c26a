/** Keyboard shortcuts: single keys, and the events that carry them to a panel. */
import { useEffect, useRef } from "react";

/** Send a key to the panel that listens for the event: `ob:step`, `ob:pin`, `ob:chart` or `ob:escape`. */
export function sendToPanels(name: string, detail: unknown): void {
  window.dispatchEvent(new CustomEvent(name, { detail }));
}

/** Call these functions with the detail of what `sendToPanels` sends, by its name. */
export function usePanelKeys(handlers: Record<string, (detail: unknown) => void>): void {
  const latest = useRef(handlers);
  latest.current = handlers;
  const names = Object.keys(handlers).join(" ");
  useEffect(() => {
    const onEvent = (event: Event) =>
      latest.current[event.type]?.((event as CustomEvent<unknown>).detail);
    for (const name of names.split(" ")) window.addEventListener(name, onEvent);
    return () => {
      for (const name of names.split(" ")) window.removeEventListener(name, onEvent);
    };
  }, [names]);
}

/**
 * Call the action of a pressed key, by `KeyboardEvent.key`, except while the user types text. One
 * with `Ctrl+` before it is pressed with Ctrl or Cmd, also while typing.
 */
export function useKeyboardShortcuts(keys: Record<string, () => void>): void {
  const latest = useRef(keys);
  latest.current = keys;
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.altKey) return;
      const isCombined = event.ctrlKey || event.metaKey;
      const key = isCombined ? `Ctrl+${event.key}` : event.key;
      const action = latest.current[key];
      if (!action) return;
      const target = event.target instanceof HTMLElement ? event.target : null;
      const isTyping = target?.matches("input:not([type=checkbox]), textarea, select") === true;
      if (isTyping && !isCombined && key !== "Escape") return;
      // The space bar activates a focused control; it must not pause the page as well.
      if (key === " " && target?.closest("button, a, input, summary") != null) return;
      if (document.querySelector("dialog[open]") && key !== "?") return;
      event.preventDefault();
      action();
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
}
