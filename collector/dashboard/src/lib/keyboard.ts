/** Single keys, and how they reach the panel they are for. */
import { useEffect, useRef } from "react";

/** To whichever panel listens: `ob:step`, `ob:chart`, `ob:escape`. */
export function sendToPanels(name: string, detail: unknown): void {
  window.dispatchEvent(new CustomEvent(name, { detail }));
}

/** Single keys, unless something is being typed. */
export function useKeyboardShortcuts(keys: Record<string, () => void>): void {
  const latest = useRef(keys);
  latest.current = keys;
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const target = event.target instanceof HTMLElement ? event.target : null;
      const isTyping = target?.matches("input:not([type=checkbox]), textarea, select") === true;
      if (isTyping && event.key !== "Escape") return;
      // Space presses a focused button; that is what it is for.
      if (event.key === " " && target?.closest("button, a, input, summary") != null) return;
      if (document.querySelector("dialog[open]") && event.key !== "?") return;
      const action = latest.current[event.key];
      if (!action) return;
      event.preventDefault();
      action();
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
}
