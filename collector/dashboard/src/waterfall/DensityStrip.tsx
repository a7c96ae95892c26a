/** The strip above the waterfall: how many jobs ended when; it chooses the zoom. */
import { memo, type PointerEvent, useMemo, useRef, useState } from "react";
import type { SpanView } from "../old/span-views";
import type { ZoomRange } from "./time-axis";
import { density } from "./waterfall-rows";

interface DensityProps {
  spans: readonly SpanView[];
  t0: number;
  endSec: number;
  zoom: ZoomRange;
  onZoom: (zoom: ZoomRange) => void;
}

const STRIP_PX = 26;

/**
 * The zoom that a click chooses.
 *
 * Without zoom: the clicked bar and its neighbours. With zoom: the same width around the clicked
 * time.
 */
export function zoomAround(sec: number, zoom: ZoomRange, bucketSec: number): ZoomRange {
  const width = zoom ? zoom.to - zoom.from : 3 * bucketSec;
  const middle = zoom ? sec : (Math.floor(sec / bucketSec) + 0.5) * bucketSec;
  const from = Math.max(0, middle - width / 2);
  return { from, to: from + width };
}

/** Ended attempts over time, failed ones on the baseline; a click or a drag zooms in. */
export const DensityStrip = memo(function DensityStrip(props: DensityProps) {
  const { spans, t0, endSec, zoom, onZoom } = props;
  const { bucketSec, buckets, top } = useMemo(
    () => density(spans, t0, endSec),
    [spans, t0, endSec],
  );
  const drag = useRef<number | null>(null);
  const [brush, setBrush] = useState<ZoomRange>(null);
  const timeAt = (event: PointerEvent<SVGSVGElement>) => {
    const box = event.currentTarget.getBoundingClientRect();
    return Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * endSec;
  };
  const onDown = (event: PointerEvent<SVGSVGElement>) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    drag.current = timeAt(event);
  };
  const onMove = (event: PointerEvent<SVGSVGElement>) => {
    if (drag.current === null) return;
    const sec = timeAt(event);
    setBrush({ from: Math.min(drag.current, sec), to: Math.max(drag.current, sec) });
  };
  const onUp = (event: PointerEvent<SVGSVGElement>) => {
    const isCancelled = event.type === "pointercancel" || drag.current === null;
    drag.current = null;
    setBrush(null);
    if (isCancelled) return;
    // A drag over less than a hundredth of the axis counts as a click.
    if (brush && brush.to - brush.from > endSec / 100) onZoom(brush);
    else onZoom(zoomAround(timeAt(event), zoom, bucketSec));
  };
  let all = "";
  let failed = "";
  buckets.forEach(([ended, bad], index) => {
    if (ended === 0) return;
    const x = (index * bucketSec * 1000) / endSec;
    const width = (bucketSec * 1000 * 0.8) / endSec;
    const height = Math.max(2, (ended / top) * (STRIP_PX - 5));
    all += `M${x.toFixed(2)} ${STRIP_PX - 3}h${width.toFixed(2)}v${(-height).toFixed(1)}h${(-width).toFixed(2)}z`;
    if (bad > 0)
      failed += `M${x.toFixed(2)} ${STRIP_PX}h${width.toFixed(2)}v-3h${(-width).toFixed(2)}z`;
  });
  const shown = brush ?? zoom;
  const failures = buckets.reduce((sum, bucket) => sum + bucket[1], 0);
  const ended = buckets.reduce((sum, bucket) => sum + bucket[0], 0);
  return (
    <svg
      className="density"
      viewBox={`0 0 1000 ${STRIP_PX}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={`${ended} attempts ended over time, ${failures} of them failed. Click or drag to zoom in.`}
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
          x={(shown.from * 1000) / endSec}
          width={((shown.to - shown.from) * 1000) / endSec}
          y="0"
          height={STRIP_PX}
        />
      )}
    </svg>
  );
});
