import { memo } from "react";
import { type MonitoringFeed, useSlice } from "../feed/useMonitoringFeed";
import { count, percent, queueLabel, rate, withSpaces } from "../lib/format";

/** The overview: six numbers that keep their widths while they change. */
export const GlobalStatsBar = memo(function GlobalStatsBar({ feed }: { feed: MonitoringFeed }) {
  const stats = useSlice(feed.store, "stats");
  const queues = byPriority(stats?.queue_depth ?? {});
  const byType = Object.entries(stats?.in_progress_by_type ?? {});
  const errors = stats?.error_rate_1m ?? null;
  const five = stats?.error_rate_5m ?? null;
  return (
    <section className="stats" aria-label="Overview">
      <Tile label="Workers online" value={stats ? count(stats.workers_online) : "–"} />
      <div
        className="tile tile-queues"
        title={queues.map(([name, depth]) => `${name}: ${depth}`).join("\n")}
      >
        <span className="tile-label">Queued jobs</span>
        <span className="tile-value">
          {queues.length === 0 && <b className="num">{stats ? "0" : "–"}</b>}
          {queues.slice(0, 3).map(([name, depth]) => (
            <span key={name} className="queue">
              <b className="num">{count(depth)}</b> <small>{queueLabel(name)}</small>
            </span>
          ))}
          {queues.length > 3 && <small className="muted queues-more">+{queues.length - 3}</small>}
        </span>
      </div>
      <Tile
        label="In progress"
        value={stats ? count(stats.in_progress) : "–"}
        note={byType.map(([name, n]) => `${n} ${withSpaces(name)}`).join(", ")}
      />
      <Tile
        label="Errors, 1 min"
        value={percent(errors)}
        tone={errors !== null && errors >= 0.05 ? "bad" : undefined}
        note={five === null ? "" : `${percent(five)} in 5 min`}
      />
      <div className="tile tile-rate">
        <span className="tile-label">Throughput</span>
        <span className="tile-value">
          <b className="num">{stats ? rate(stats.throughput_per_sec) : "–"}</b>
          <small>jobs/s</small>
          <Sparkline values={stats?.series ?? []} />
        </span>
      </div>
      <Tile
        label="Events"
        value={stats ? rate(stats.receivedPerSec) : "–"}
        unit="/s"
        note={
          stats && stats.events_dropped > 0 ? `${count(stats.events_dropped)} dropped` : undefined
        }
        tone={undefined}
      />
    </section>
  );
});

const PRIORITIES = ["high", "normal", "low"];

/**
 * The coordinator's queues in the order in which they are served, then all others, longest first.
 */
function byPriority(depths: Readonly<Record<string, number>>): [string, number][] {
  const rank = (name: string) => {
    const at = PRIORITIES.indexOf(queueLabel(name));
    return at < 0 ? PRIORITIES.length : at;
  };
  return Object.entries(depths).sort(
    ([a, x], [b, y]) => rank(a) - rank(b) || y - x || (a < b ? -1 : 1),
  );
}

interface TileProps {
  label: string;
  value: string;
  unit?: string;
  note?: string | undefined;
  tone?: "bad" | undefined;
}

const Tile = memo(function Tile({ label, value, unit, note, tone }: TileProps) {
  return (
    <div className={tone ? `tile tile-${tone}` : "tile"}>
      <span className="tile-label">{label}</span>
      <span className="tile-value">
        <b className="num">{value}</b>
        {unit && <small>{unit}</small>}
        {note && (
          <small className="tile-note" title={note}>
            {note}
          </small>
        )}
      </span>
    </div>
  );
});

const WIDTH = 96;
const HEIGHT = 24;
const SECONDS = 60;

/** Jobs ended per second over the last minute, the newest second at the right edge. */
const Sparkline = memo(function Sparkline({ values }: { values: readonly number[] }) {
  const top = Math.max(1, ...values);
  const step = WIDTH / (SECONDS - 1);
  const left = WIDTH - (values.length - 1) * step;
  const points = values.map((value, index) => {
    const y = HEIGHT - 1.5 - (value / top) * (HEIGHT - 4);
    return `${(left + index * step).toFixed(1)} ${y.toFixed(1)}`;
  });
  const line = points.length > 1 ? `M${points.join("L")}` : "";
  return (
    <svg
      className="spark"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      width={WIDTH}
      height={HEIGHT}
      role="img"
      aria-label={`Jobs per second over the last minute, at most ${Math.max(0, ...values)}`}
    >
      <path className="spark-base" d={`M0 ${HEIGHT - 1}H${WIDTH}`} />
      {line && <path className="spark-area" d={`${line}V${HEIGHT - 1}H${left.toFixed(1)}Z`} />}
      {line && <path className="spark-line" d={line} />}
    </svg>
  );
});
