/** The time axis of the waterfall: its zoom, and the positions of bars and ticks along it. */
import { type RefObject, useEffect, useLayoutEffect, useRef } from "react";
import type { FeedStore } from "../feed/feed-store";
import { useMedia } from "../lib/browser";

/** Growing bars are moved at most 25 times a second; more often makes no visible difference. */
const GROW_INTERVAL_MS = 38;
/** The axis ends 3 % after now, so that growing bars do not touch the edge. */
const AHEAD = 1.03;
/** Shortest axis. */
const MIN_AXIS_SEC = 0.05;

/**
 * The visible range, seconds from the start of the research task; null: the whole task, as it
 * grows.
 */
export type ZoomRange = { from: number; to: number } | null;

/** Read a range as it is in the URL, `12.5-30`; null for any other text. */
export function readZoom(text: string): ZoomRange {
  const found = /^(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)$/.exec(text);
  const [from, to] = [Number(found?.[1]), Number(found?.[2])];
  return found && from < to ? { from, to } : null;
}

/** A range as it is in the URL; empty for the whole task. */
export function writeZoom(window: ZoomRange): string {
  if (window === null) return "";
  const digits = window.to - window.from < 1 ? 4 : 2;
  return `${+window.from.toFixed(digits)}-${+window.to.toFixed(digits)}`;
}

/** Seconds from the start of the task to the right edge of the axis, without zoom. */
export function axisEnd(untilMs: number, t0: number): number {
  return Math.max(MIN_AXIS_SEC, (untilMs - t0) / 1000) * AHEAD;
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
  store: FeedStore,
  t0: number,
  isOpen: boolean,
  endSec: number,
  zoom: ZoomRange,
): void {
  const isMotionReduced = useMedia("(prefers-reduced-motion: reduce)");
  const placeNow = () => {
    const element = root.current;
    if (!element) return 0;
    const now = store.viewNow();
    const from = zoom ? zoom.from : 0;
    const to = zoom ? zoom.to : isOpen ? axisEnd(now, t0) : endSec;
    placeElements(element, (now - t0) / 1000, from, Math.max(0.001, to - from));
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
      const spanSec = latest.current();
      timer = setTimeout(
        () => {
          frame = requestAnimationFrame(grow);
        },
        Math.max(GROW_INTERVAL_MS, (spanSec * 1000) / pixels),
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

function placeElements(chart: HTMLElement, nowSec: number, fromSec: number, spanSec: number): void {
  chart.style.setProperty("--now", nowSec.toFixed(3));
  const share = (sec: number) => (sec - fromSec) / spanSec;
  const percent = (part: number) => `${(100 * part).toFixed(3)}%`;
  for (const element of chart.querySelectorAll<HTMLElement>("[data-s]")) {
    const { style, dataset } = element;
    const start = share(Number(dataset["s"]));
    const end = dataset["e"] === undefined ? share(nowSec) : share(Number(dataset["e"]));
    // Clip to the chart here, so that no row needs a clip in its style.
    const left = Math.max(0, start);
    const right = Math.max(left, Math.min(1, end));
    const display = end < 0 || start > 1 ? "none" : "";
    if (style.display !== display) style.display = display;
    style.left = percent(left);
    if (element.classList.contains("wf-bar")) style.width = percent(right - left);
  }
}

/**
 * Keys of the chart: w and e fold and unfold all phases, a and d pan, + and - zoom, 0 resets the
 * zoom.
 */
export function useChartKeys(
  foldAll: (isFolded: boolean) => void,
  zoom: ZoomRange,
  setZoom: (zoom: ZoomRange) => void,
  endSec: number,
): void {
  const latest = useRef({ foldAll, zoom, setZoom, endSec });
  latest.current = { foldAll, zoom, setZoom, endSec };
  useEffect(() => {
    const onKey = (event: Event) => {
      const key = (event as CustomEvent<string>).detail;
      const chart = latest.current;
      if (key === "w") chart.foldAll(true);
      else if (key === "e") chart.foldAll(false);
      else chart.setZoom(moveZoom(chart.zoom, key, chart.endSec));
    };
    window.addEventListener("ob:chart", onKey);
    return () => window.removeEventListener("ob:chart", onKey);
  }, []);
}

/**
 * The range after a key: pan by a quarter, halve or double around the middle; other keys reset it.
 */
export function moveZoom(old: ZoomRange, key: string, endSec: number): ZoomRange {
  const { from, to } = old ?? { from: 0, to: endSec };
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
      if (span * 2 >= endSec) return null;
      return { from: Math.max(0, middle - span), to: middle + span };
    default:
      return null;
  }
}
