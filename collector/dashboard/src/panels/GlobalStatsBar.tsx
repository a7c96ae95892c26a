import { memo } from "react";
import { count, percent, queueLabel, rate, withSpaces } from "../lib/format";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useOverview } from "../views/useOverview";

/** Shown for what is not known, which is not 0. */
const UNKNOWN = "–";

export interface GlobalStatsBarProps {
  feed: MonitoringFeed;
}

/** The overview: six numbers that keep their widths while they change; rates say of which time they are. */
export const GlobalStatsBar = memo(function GlobalStatsBar({ feed }: GlobalStatsBarProps) {
  const head = useOverview(feed);
  const queues = byPriority(head?.queued ?? {});
  const byType = Object.entries(head?.jobs_running_by_type ?? {});
  const errors = head?.error_rate_1m ?? null;
  const five = head?.error_rate_5m ?? null;
  const lost = head?.workers_lost ?? 0;
  const dropped = head?.events_dropped ?? 0;
  return (
    <section className="stats" aria-label="Overview">
      <Tile
        label="Workers online"
        value={known(head?.workers_online, count)}
        note={lost > 0 ? `${count(lost)} lost in 1 h` : ""}
        noteTitle="Workers that went offline in the last hour without saying so"
        noteTone="bad"
      />
      <div
        className="tile tile-queues"
        title={queues.map(([name, depth]) => `${name}: ${depth}`).join("\n")}
      >
        <span className="tile-label">Queued jobs</span>
        <span className="tile-value">
          {queues.length === 0 && <Waiting queues={head?.waiting ?? null} />}
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
        value={known(head?.jobs_running, count)}
        note={byType.map(([name, n]) => `${n} ${withSpaces(name)}`).join(", ")}
      />
      <Tile
        label="Errors, last minute"
        value={percent(errors)}
        tone={errors !== null && errors >= 0.05 ? "bad" : undefined}
        note={five === null ? "" : `${percent(five)} in 5 min`}
      />
      <div className="tile tile-rate">
        <span className="tile-label">Throughput, last minute</span>
        <span className="tile-value">
          <b className="num">{known(head?.jobs_ended_per_sec, rate)}</b>
          <small>jobs/s</small>
          <Sparkline values={head?.jobs_ended_by_second ?? []} />
        </span>
      </div>
      <Tile
        label="Events, last 10 s"
        value={known(head?.events_per_sec, rate)}
        unit="/s"
        note={dropped > 0 ? `${count(dropped)} dropped` : ""}
        noteTitle="Events that workers dropped, or that the collector could not read"
      />
    </section>
  );
});

/** The jobs that are known to wait, where no queue depth was reported. */
function Waiting({ queues }: { queues: Readonly<Record<string, number>> | null }) {
  const waiting = Object.values(queues ?? {}).reduce((sum, jobs) => sum + jobs, 0);
  const title = "No queue depth was reported";
  if (waiting === 0)
    return (
      <b className="num" title={title}>
        {UNKNOWN}
      </b>
    );
  return (
    <span className="queue" title={`${title}; so many jobs are known to wait`}>
      <b className="num">{count(waiting)}</b> <small>waiting</small>
    </span>
  );
}

function known(value: number | null | undefined, format: (value: number) => string): string {
  return value === null || value === undefined ? UNKNOWN : format(value);
}

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
  note?: string;
  /** What the note means; default: the note itself. */
  noteTitle?: string;
  noteTone?: "bad";
  tone?: "bad" | undefined;
}

const Tile = memo(function Tile(props: TileProps) {
  const { label, value, unit, note, noteTitle = note, noteTone, tone } = props;
  return (
    <div className={tone ? `tile tile-${tone}` : "tile"}>
      <span className="tile-label">{label}</span>
      <span className="tile-value">
        <b className="num">{value}</b>
        {unit && <small>{unit}</small>}
        {note && (
          <small
            className={noteTone ? `tile-note tile-note-${noteTone}` : "tile-note"}
            title={noteTitle}
          >
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
