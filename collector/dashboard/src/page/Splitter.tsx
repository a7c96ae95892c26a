/** The bar between two panels that is dragged to share the room between them. */
import { type KeyboardEvent, type PointerEvent, useLayoutEffect, useRef, useState } from "react";
import { readPreference, storePreference } from "../lib/browser";

interface SplitterProps {
  /** Names the preference in this browser, and the custom property of the grid. */
  name: "tasks" | "upper";
  label: string;
  /** `vertical`: between a left and a right panel. */
  orientation: "vertical" | "horizontal";
  /** Share of the first panel, in percent. */
  initial: number;
  min: number;
  max: number;
}

const STEP = 2;

/**
 * A part of the grid, which it tells the share of the first panel by `--split-NAME`. By pointer and
 * touch, by arrow keys, Home and End; a double click or Enter resets it.
 */
export function Splitter({ name, label, orientation, initial, min, max }: SplitterProps) {
  const key = `otel-bridge-split-${name}`;
  const root = useRef<HTMLDivElement>(null);
  const [share, setShare] = useState(() => {
    const stored = Number(readPreference(key) ?? Number.NaN);
    return stored >= min && stored <= max ? stored : null;
  });
  const isVertical = orientation === "vertical";
  useLayoutEffect(() => {
    const grid = root.current?.parentElement;
    if (share === null) grid?.style.removeProperty(`--split-${name}`);
    else grid?.style.setProperty(`--split-${name}`, `${share}%`);
  }, [name, share]);

  const choose = (percent: number | null) => {
    const next = percent === null ? null : Math.min(max, Math.max(min, percent));
    setShare(next === null ? null : Math.round(next * 10) / 10);
  };
  const keep = (percent: number | null) => {
    choose(percent);
    storePreference(key, percent === null ? null : String(Math.min(max, Math.max(min, percent))));
  };
  const percentAt = (event: PointerEvent) => {
    const box = root.current?.parentElement?.getBoundingClientRect();
    if (!box) return initial;
    const part = isVertical
      ? (event.clientX - box.left) / box.width
      : (event.clientY - box.top) / box.height;
    return part * 100;
  };
  const isDragged = (event: PointerEvent) => event.currentTarget.hasPointerCapture(event.pointerId);
  const now = share ?? initial;
  const onKey = (event: KeyboardEvent) => {
    const [less, more] = isVertical ? ["ArrowLeft", "ArrowRight"] : ["ArrowUp", "ArrowDown"];
    const next: Record<string, number | null> = {
      [less as string]: now - STEP,
      [more as string]: now + STEP,
      Home: min,
      End: max,
      Enter: null,
    };
    if (!Object.hasOwn(next, event.key)) return;
    event.preventDefault();
    keep(next[event.key] ?? null);
  };
  return (
    <div
      ref={root}
      className={`splitter is-${orientation}`}
      role="separator"
      tabIndex={0}
      aria-label={label}
      aria-orientation={orientation}
      aria-valuenow={Math.round(now)}
      aria-valuemin={min}
      aria-valuemax={max}
      title="Drag, or use the arrow keys; double click resets"
      onKeyDown={onKey}
      onDoubleClick={() => keep(null)}
      onPointerDown={(event) => {
        if (event.button !== 0) return;
        event.currentTarget.setPointerCapture(event.pointerId);
      }}
      onPointerMove={(event) => isDragged(event) && choose(percentAt(event))}
      onPointerUp={(event) => isDragged(event) && share !== null && keep(share)}
    />
  );
}
