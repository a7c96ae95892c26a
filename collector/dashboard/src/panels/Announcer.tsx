/** Announcements for screen readers. */
import { useEffect, useRef, useState } from "react";
import { STATUS_LABELS, taskName } from "../lib/format";
import type { Connection } from "../old/slices";
import type { CardView } from "../old/views";
import { isSignInRequired } from "./SignIn";

/** Minimum time between two announcements; what happens in between is announced together. */
const INTERVAL_MS = 5000;
/** Ended tasks that an announcement names; more are counted. */
const MAX_NAMED = 3;

interface AnnouncerProps {
  cards: readonly CardView[];
  connection: Connection;
}

/**
 * What a screen reader announces by itself.
 *
 * In a polite region, at most every five seconds: which research tasks ended, and that the
 * connection is back. As an alert: only that the connection was lost. Rows of the event table are
 * not announced, because they would never end.
 */
export function Announcer({ cards, connection }: AnnouncerProps) {
  const [text, setText] = useState("");
  const [isLost, setLost] = useState(false);
  const open = useRef<ReadonlySet<string>>(new Set());
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
    const ended = cards.filter((card) => card.endedAt !== null && open.current.has(card.taskId));
    open.current = new Set(cards.filter((c) => c.endedAt === null).map((c) => c.taskId));
    if (ended.length > 0)
      announce(...ended.map((card) => `${taskName(card)}: ${STATUS_LABELS[card.status]}`));
  }, [cards, announce]);
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
  useEffect(() => () => clearTimeout(timer.current ?? undefined), []);
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
