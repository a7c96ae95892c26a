/** The waterfall's axis: which stretch of time is shown, and how it grows. */
import { type RefObject, useEffect, useLayoutEffect, useRef } from "react";
import type { FeedStore } from "../feed/feed-store";
import { useMedia } from "../lib/browser";

/** Bars that grow 25 times a second look alive; more often nobody sees. */
const GROW_INTERVAL_MS = 38;
/** Room to the right of now, so that growing bars do not touch the edge. */
export const AHEAD = 1.03;
const LEAST_SEC = 0.05;

/** Seconds from the start of the research task; null: all of it, growing. */
export type ZoomRange = { from: number; to: number } | null;

/** `12.5-30`, as in the address bar; null for anything else. */
export function readZoom(text: string): ZoomRange {
  const found = /^(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)$/.exec(text);
  const [from, to] = [Number(found?.[1]), Number(found?.[2])];
  return found && from < to ? { from, to } : null;
}

export function writeZoom(window: ZoomRange): string {
  if (window === null) return "";
  const digits = window.to - window.from < 1 ? 4 : 2;
  return `${+window.from.toFixed(digits)}-${+window.to.toFixed(digits)}`;
}

/** Seconds from the start to the right edge, when nothing is zoomed. */
export function axisEnd(untilMs: number, t0: number): number {
  return Math.max(LEAST_SEC, (untilMs - t0) / 1000) * AHEAD;
}

/**
 * Places every bar and tick of the chart: after each drawing, and again as time goes on.
 *
 * By hand, not by custom properties that the whole chart inherits: those cost 2 ms of style a time, 20 times
 * a second. And only once something moves by a whole pixel of the screen: a chart of a minute some 12
 * times a second, one of two hours every ten seconds; in between the page rests.
 */
export function useTimeAxis(
  root: RefObject<HTMLDivElement | null>,
  store: FeedStore,
  t0: number,
  isOpen: boolean,
  endSec: number,
  zoom: ZoomRange,
): void {
  const isCalm = useMedia("(prefers-reduced-motion: reduce)");
  const place = () => {
    const element = root.current;
    if (!element) return 0;
    const now = store.viewNow();
    const from = zoom ? zoom.from : 0;
    const to = zoom ? zoom.to : isOpen ? axisEnd(now, t0) : endSec;
    placeAll(element, (now - t0) / 1000, from, Math.max(0.001, to - from));
    return to - from;
  };
  const latest = useRef(place);
  latest.current = place;
  useLayoutEffect(() => {
    latest.current();
  });
  const isGrowing = isOpen && !isCalm;
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

function placeAll(chart: HTMLElement, nowSec: number, fromSec: number, spanSec: number): void {
  chart.style.setProperty("--now", nowSec.toFixed(3));
  const share = (sec: number) => (sec - fromSec) / spanSec;
  const percent = (part: number) => `${(100 * part).toFixed(3)}%`;
  for (const element of chart.querySelectorAll<HTMLElement>("[data-s]")) {
    const { style, dataset } = element;
    const start = share(Number(dataset["s"]));
    const end = dataset["e"] === undefined ? share(nowSec) : share(Number(dataset["e"]));
    // Cut to the chart here, so that no row needs a clip of its own.
    const left = Math.max(0, start);
    const right = Math.max(left, Math.min(1, end));
    const display = end < 0 || start > 1 ? "none" : "";
    if (style.display !== display) style.display = display;
    style.left = percent(left);
    if (element.classList.contains("wf-bar")) style.width = percent(right - left);
  }
}

/** w and e fold and unfold, a and d pan, + and - zoom, 0 shows everything. */
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
