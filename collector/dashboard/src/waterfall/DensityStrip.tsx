/** The strip above the waterfall: how many attempts ended when. A click goes there, a drag zooms. */
import { memo, type PointerEvent, useMemo, useRef, useState } from "react";
import type { StripHead, StripRow } from "../views/view-types";
import type { ZoomRange } from "./time-axis";

/** Part of the time that a click means, milliseconds from the task's start. */
export interface StripMark {
  from: number;
  to: number;
  /** Whether attempts failed in it. */
  isFailed: boolean;
}

interface DensityProps {
  head: StripHead | null;
  rows: readonly StripRow[];
  /** When the task started, and how long the axis is, both in ms. */
  t0: number;
  endMs: number;
  zoom: ZoomRange;
  onZoom: (zoom: ZoomRange) => void;
  onGo: (mark: StripMark) => void;
}

const STRIP_PX = 26;
/** A click means the nearest bar up to so many bars away: bars are some 4 px wide. */
const NEAR_BARS = 3;

/**
 * What a click at a time means: the bar there, else a near one with failures, else the nearest one,
 * else this time.
 */
export function markAt(ms: number, bars: readonly StripMark[], step: number): StripMark {
  const distance = (bar: StripMark) => Math.max(0, bar.from - ms, ms - bar.to) / step;
  const near = bars
    .filter((bar) => distance(bar) <= NEAR_BARS)
    .sort((a, b) => distance(a) - distance(b));
  const [nearest] = near;
  if (nearest !== undefined && distance(nearest) === 0 && nearest.isFailed) return nearest;
  const found = near.find((bar) => bar.isFailed && distance(bar) <= 1) ?? nearest;
  return found ?? { from: ms - step / 2, to: ms + step / 2, isFailed: false };
}

/** Ended attempts over time, failed ones on the baseline; a click goes there, a drag zooms in. */
export const DensityStrip = memo(function DensityStrip(props: DensityProps) {
  const { head, rows, t0, endMs, zoom, onZoom, onGo } = props;
  const step = head?.step ?? 1;
  const start = (head?.start ?? t0) - t0;
  const bars = useMemo(
    () =>
      rows.map((row) => {
        const from = start + Number(row.k) * step;
        return { from, to: from + step, isFailed: row.failed > 0, ended: row.ended };
      }),
    [rows, start, step],
  );
  const drag = useRef<number | null>(null);
  const [brush, setBrush] = useState<ZoomRange>(null);
  const timeAt = (event: PointerEvent<SVGSVGElement>) => {
    const box = event.currentTarget.getBoundingClientRect();
    return Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * endMs;
  };
  const onDown = (event: PointerEvent<SVGSVGElement>) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    drag.current = timeAt(event);
  };
  const onMove = (event: PointerEvent<SVGSVGElement>) => {
    if (drag.current === null) return;
    const ms = timeAt(event);
    setBrush({ from: Math.min(drag.current, ms), to: Math.max(drag.current, ms) });
  };
  const onUp = (event: PointerEvent<SVGSVGElement>) => {
    const isCancelled = event.type === "pointercancel" || drag.current === null;
    drag.current = null;
    setBrush(null);
    if (isCancelled) return;
    // A drag over less than a hundredth of the axis counts as a click.
    if (brush && brush.to - brush.from > endMs / 100) onZoom(brush);
    else onGo(markAt(timeAt(event), bars, step));
  };
  const share = (ms: number) => (ms * 1000) / endMs;
  const top = bars.reduce((most, bar) => Math.max(most, bar.ended), 1);
  let all = "";
  let failed = "";
  for (const bar of bars) {
    if (bar.ended === 0 || bar.from > endMs) continue;
    const x = share(Math.max(0, bar.from)).toFixed(2);
    const width = share(step * 0.8);
    const height = Math.max(2, (bar.ended / top) * (STRIP_PX - 5));
    all += `M${x} ${STRIP_PX - 3}h${width.toFixed(2)}v${(-height).toFixed(1)}h${(-width).toFixed(2)}z`;
    if (bar.isFailed) failed += `M${x} ${STRIP_PX}h${width.toFixed(2)}v-3h${(-width).toFixed(2)}z`;
  }
  const shown = brush ?? zoom;
  const label = head
    ? `${head.ended} attempts ended over time, ${head.failed} of them failed. Click to go there, drag to zoom in.`
    : "Attempts that ended over time";
  return (
    <svg
      className="density"
      viewBox={`0 0 1000 ${STRIP_PX}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={label}
      onPointerDown={onDown}
      onPointerMove={onMove}
      onPointerUp={onUp}
      onPointerCancel={onUp}
      onDoubleClick={() => onZoom(null)}
    >
      <path className="density-all" d={all} />
      <path className="density-failed" d={failed} />
      {shown && (
        <rect
          className="density-brush"
          x={share(shown.from)}
          width={Math.max(2, share(shown.to - shown.from))}
          y="0"
          height={STRIP_PX}
        />
      )}
    </svg>
  );
});
