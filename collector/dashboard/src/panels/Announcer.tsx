/** Announcements for screen readers. */
import { useEffect, useMemo, useRef, useState } from "react";
import { STATUS_LABELS, taskName } from "../lib/format";
import { type MonitoringFeed, useConnection } from "../views/useMonitoringFeed";
import { OPEN_TASKS } from "../views/useShownTask";
import { useView } from "../views/useView";
import type { TaskRow } from "../views/view-types";
import { isSignInRequired } from "./SignIn";

/** Minimum time between two announcements; what happens in between is announced together. */
const INTERVAL_MS = 5000;
/** Ended tasks that an announcement names; more are counted. */
const MAX_NAMED = 3;
/** Tasks that left the list of open ones and are still watched, at most. */
const MAX_WATCHED = 40;

/**
 * What a screen reader announces by itself.
 *
 * In a polite region, at most every five seconds: which research tasks ended, and that the
 * connection is back. As an alert: only that the connection was lost. Rows of the event table are
 * not announced, because they would never end.
 */
export function Announcer({ feed }: { feed: MonitoringFeed }) {
  const connection = useConnection(feed);
  const ended = useEndedTasks(feed);
  const [text, setText] = useState("");
  const [isLost, setLost] = useState(false);
  const queued = useRef<string[]>([]);
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  const [announce] = useState(() => (...more: string[]) => {
    queued.current.push(...more);
    if (timer.current !== null) return;
    const next = () => {
      const all = queued.current;
      queued.current = [];
      timer.current = null;
      if (all.length === 0) return;
      const others = all.length > MAX_NAMED ? `, and ${all.length - MAX_NAMED} more` : "";
      setText(`${all.slice(0, MAX_NAMED).join(", ")}${others}`);
      timer.current = setTimeout(next, INTERVAL_MS);
    };
    next();
  });
  useEffect(() => {
    if (ended.length > 0)
      announce(...ended.map((task) => `${taskName(task)}: ${STATUS_LABELS[task.status]}`));
  }, [ended, announce]);
  const isRefused = connection.kind === "refused" && !isSignInRequired(connection);
  const isAway = connection.kind === "reconnecting" || isRefused;
  const isLive = connection.kind === "live";
  useEffect(() => {
    if (isAway) setLost(true);
    if (isLive && isLost) {
      setLost(false);
      announce("Connected again");
    }
  }, [isAway, isLive, isLost, announce]);
  useEffect(
    () => () => {
      clearTimeout(timer.current ?? undefined);
      timer.current = null;
    },
    [],
  );
  return (
    <>
      <span className="offscreen" role="alert">
        {isLost ? "Connection to the collector lost" : ""}
      </span>
      <span className="offscreen" role="status" data-testid="ended">
        {text}
      </span>
    </>
  );
}

const NO_TASKS: readonly TaskRow[] = [];
const isOver = ({ status }: TaskRow) => status === "completed" || status === "failed";

/**
 * The tasks that have ended since the last render: those that left the list of open ones and, asked
 * for by their ids, are over. Others that left it, because 40 newer ones run, are watched by id.
 */
function useEndedTasks(feed: MonitoringFeed): readonly TaskRow[] {
  const { head, rows } = useView(feed, "tasks", OPEN_TASKS);
  const open = useRef<ReadonlySet<string>>(new Set());
  const [left, setLeft] = useState<readonly string[]>([]);
  useEffect(() => {
    if (head === null) return;
    const now = new Set(rows.filter((task) => !isOver(task)).map((task) => task.k));
    const gone = [...open.current].filter((taskId) => !now.has(taskId));
    open.current = now;
    if (gone.length > 0) setLeft((old) => [...new Set([...old, ...gone])].slice(-MAX_WATCHED));
  }, [head, rows]);

  const answer = useView(feed, "tasks", left.length > 0 ? { keys: left } : null);
  const isAnswered = answer.status === "live" && !answer.isRefreshing;
  const ended = useMemo(
    () => (isAnswered ? answer.rows.filter(isOver) : NO_TASKS),
    [isAnswered, answer.rows],
  );
  useEffect(() => {
    if (!isAnswered) return;
    const waiting = answer.rows.filter((task) => !isOver(task) && !open.current.has(task.k));
    const done = new Set(left.filter((taskId) => !waiting.some((task) => task.k === taskId)));
    if (done.size > 0) setLeft((old) => old.filter((taskId) => !done.has(taskId)));
  }, [isAnswered, answer.rows, left]);
  return ended.length > 0 ? ended : NO_TASKS;
}
