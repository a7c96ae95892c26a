/** The time axis of the waterfall: its zoom, and the positions of bars and ticks along it. */
import { type RefObject, useEffect, useLayoutEffect, useRef } from "react";
import { useMedia } from "../lib/browser";
import type { MonitoringFeed } from "../views/useMonitoringFeed";

/** Growing bars are moved at most 25 times a second; more often makes no visible difference. */
const GROW_INTERVAL_MS = 38;
/** The axis ends 3 % after now, so that growing bars do not touch the edge. */
const AHEAD = 1.03;
/** Shortest axis. */
const MIN_AXIS_MS = 50;

/**
 * The visible range, whole milliseconds from the start of the research task; null: the whole task,
 * as it grows.
 */
export type ZoomRange = { from: number; to: number } | null;

/** Read a range as it is in the address, `12500-30000`; null for any other text. */
export function readZoom(text: string): ZoomRange {
  const found = /^(\d{1,13})-(\d{1,13})$/.exec(text);
  const [from, to] = [Number(found?.[1]), Number(found?.[2])];
  return found && from < to ? { from, to } : null;
}

/** A range as it is in the address; empty for the whole task. */
export function writeZoom(zoom: ZoomRange): string {
  if (zoom === null) return "";
  const from = Math.max(0, Math.round(zoom.from));
  return `${from}-${Math.max(from + 1, Math.round(zoom.to))}`;
}

/** Milliseconds from the start of the task to the right edge of the axis, without zoom. */
export function axisEnd(untilMs: number, t0: number): number {
  return Math.max(MIN_AXIS_MS, untilMs - t0) * AHEAD;
}

/**
 * Attributes from which the axis places a bar: milliseconds from the task's start; no end: it
 * grows.
 */
export function timeAttributes(startMs: number, endMs: number | null) {
  return { "data-s": startMs, "data-e": endMs ?? undefined };
}

/**
 * Place every bar and tick of the chart: after each render, and again while time passes.
 *
 * Each element's style is set directly. Custom properties inherited by the whole chart cost 2 ms of
 * style calculation each time, 20 times a second. The elements are moved only when one moves by at
 * least one pixel of the screen: about 12 times a second for a chart of one minute, every ten
 * seconds for a chart of two hours.
 */
export function useTimeAxis(
  root: RefObject<HTMLDivElement | null>,
  feed: MonitoringFeed,
  t0: number,
  isOpen: boolean,
  endMs: number,
  zoom: ZoomRange,
): void {
  const isMotionReduced = useMedia("(prefers-reduced-motion: reduce)");
  const placeNow = () => {
    const element = root.current;
    if (!element) return 0;
    const now = feed.now();
    const from = zoom ? zoom.from : 0;
    const to = zoom ? zoom.to : isOpen ? axisEnd(now, t0) : endMs;
    placeElements(element, now - t0, from, Math.max(1, to - from));
    return to - from;
  };
  const latest = useRef(placeNow);
  latest.current = placeNow;
  useLayoutEffect(() => {
    latest.current();
  });
  const isGrowing = isOpen && !isMotionReduced;
  useEffect(() => {
    const track = root.current?.querySelector(".wf-track");
    if (!isGrowing || !track) return;
    let timer: ReturnType<typeof setTimeout>;
    let frame = 0;
    let pixels = 0;
    const grow = () => {
      const spanMs = latest.current();
      timer = setTimeout(
        () => {
          frame = requestAnimationFrame(grow);
        },
        Math.max(GROW_INTERVAL_MS, spanMs / pixels),
      );
    };
    const measure = () => {
      pixels = Math.max(100, track.clientWidth * window.devicePixelRatio);
    };
    const resize = new ResizeObserver(measure);
    resize.observe(track);
    measure();
    grow();
    return () => {
      resize.disconnect();
      clearTimeout(timer);
      cancelAnimationFrame(frame);
    };
  }, [root, isGrowing]);
}

function placeElements(chart: HTMLElement, nowMs: number, fromMs: number, spanMs: number): void {
  chart.style.setProperty("--now", (nowMs / 1000).toFixed(3));
  const share = (ms: number) => (ms - fromMs) / spanMs;
  const percent = (part: number) => `${(100 * part).toFixed(3)}%`;
  for (const element of chart.querySelectorAll<HTMLElement>("[data-s]")) {
    const { style, dataset } = element;
    const start = share(Number(dataset["s"]));
    const end = dataset["e"] === undefined ? share(nowMs) : share(Number(dataset["e"]));
    // Clip to the chart here, so that no row needs a clip in its style.
    const left = Math.max(0, start);
    const right = Math.max(left, Math.min(1, end));
    const display = end < 0 || start > 1 ? "none" : "";
    if (style.display !== display) style.display = display;
    style.left = percent(left);
    if (element.classList.contains("wf-bar")) style.width = percent(right - left);
  }
}

/** What the keys of the chart do: `useChartKeys`. */
export interface ChartActions {
  foldAll: (isFolded: boolean) => void;
  zoom: ZoomRange;
  setZoom: (zoom: ZoomRange) => void;
  endMs: number;
  /** Go to the next failure, or the one before. */
  nextFailure: (step: 1 | -1) => void;
}

/**
 * Keys of the chart: w and e fold and unfold all rows, a and d pan, + and - zoom, 0 resets the
 * zoom, n and N go to the next failure and the one before.
 */
export function useChartKeys(actions: ChartActions): void {
  const latest = useRef(actions);
  latest.current = actions;
  useEffect(() => {
    const onKey = (event: Event) => {
      const key = (event as CustomEvent<string>).detail;
      const chart = latest.current;
      if (key === "w") chart.foldAll(true);
      else if (key === "e") chart.foldAll(false);
      else if (key === "n") chart.nextFailure(1);
      else if (key === "N") chart.nextFailure(-1);
      else {
        const zoom = moveZoom(chart.zoom, key, chart.endMs);
        // Two keys can come before the next render.
        latest.current = { ...chart, zoom };
        chart.setZoom(zoom);
      }
    };
    window.addEventListener("ob:chart", onKey);
    return () => window.removeEventListener("ob:chart", onKey);
  }, []);
}

/**
 * The range after a key: pan by a quarter, halve or double around the middle; other keys reset it.
 */
export function moveZoom(old: ZoomRange, key: string, endMs: number): ZoomRange {
  const { from, to } = old ?? { from: 0, to: endMs };
  const span = to - from;
  const middle = (from + to) / 2;
  switch (key) {
    case "a":
      return old && { from: Math.max(0, from - span / 4), to: Math.max(span, to - span / 4) };
    case "d":
      return old && { from: from + span / 4, to: to + span / 4 };
    case "+":
      return { from: middle - span / 4, to: middle + span / 4 };
    case "-":
      if (span * 2 >= endMs) return null;
      return { from: Math.max(0, middle - span), to: middle + span };
    default:
      return null;
  }
}
