/** The bar between two panels that is dragged to share the room between them. */
import { type KeyboardEvent, type PointerEvent, useLayoutEffect, useRef, useState } from "react";
import { readPreference, storePreference } from "../lib/browser";

interface SplitterProps {
  /** Names the preference in this browser, and the custom property of the grid. */
  name: "tasks" | "upper";
  label: string;
  /** `vertical`: between a left and a right panel. */
  orientation: "vertical" | "horizontal";
  /** Least and greatest share of the first panel, in percent. */
  min: number;
  max: number;
}

const STEP = 2;
const HALF_GAP_PX = 5;

/**
 * A part of the grid, which takes the share of the first panel from `--split-NAME`. By pointer and
 * touch, by arrow keys, Home and End; a double click or Enter resets it.
 */
export function Splitter({ name, label, orientation, min, max }: SplitterProps) {
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

  // What the panel has while nothing was chosen depends on how its tasks are drawn.
  const [measured, setMeasured] = useState(min);
  const measure = () => {
    const own = root.current?.getBoundingClientRect();
    const box = root.current?.parentElement?.getBoundingClientRect();
    if (!own || !box) return;
    const part = isVertical ? (own.left - box.left) / box.width : (own.top - box.top) / box.height;
    setMeasured(Math.min(max, Math.max(min, Math.round(part * 100))));
  };
  // biome-ignore lint/correctness/useExhaustiveDependencies: measured when a choice was reset.
  useLayoutEffect(measure, [share]);

  const choose = (percent: number | null) => {
    const next =
      percent === null ? null : Math.min(max, Math.max(min, Math.round(percent * 10) / 10));
    setShare(next);
    storePreference(key, next === null ? null : String(next));
  };
  const drag = (event: PointerEvent) => {
    const box = root.current?.parentElement?.getBoundingClientRect();
    if (!box || !event.currentTarget.hasPointerCapture(event.pointerId)) return;
    // The panel ends where the gap starts, and the pointer is in the middle of that.
    const part = isVertical
      ? (event.clientX - box.left - HALF_GAP_PX) / box.width
      : (event.clientY - box.top - HALF_GAP_PX) / box.height;
    choose(part * 100);
  };
  const now = share ?? measured;
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
    choose(next[event.key] ?? null);
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
      onFocus={measure}
      onKeyDown={onKey}
      onDoubleClick={() => choose(null)}
      onPointerDown={(event) => {
        if (event.button !== 0) return;
        event.currentTarget.setPointerCapture(event.pointerId);
      }}
      onPointerMove={drag}
    />
  );
}
