import { useEffect, useRef, useState } from "react";
import { STATUS_LABELS, taskName } from "../lib/format";
import type { Connection } from "../old/slices";
import type { CardView } from "../old/views";
import { isSignInRequired } from "./SignIn";

/** A screen reader is told at most so often; what happens between is told together. */
const INTERVAL_MS = 5000;
const NAMED = 3;

interface AnnouncerProps {
  cards: readonly CardView[];
  connection: Connection;
}

/**
 * What a screen reader is told without being asked.
 *
 * Politely, at most every five seconds: which research tasks ended, that the connection is back. At
 * once: only that it was lost. Never the events' rows, which would never stop.
 */
export function Announcer({ cards, connection }: AnnouncerProps) {
  const [text, setText] = useState("");
  const [isLost, setLost] = useState(false);
  const open = useRef<ReadonlySet<string>>(new Set());
  const waiting = useRef<string[]>([]);
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  const [say] = useState(() => (...more: string[]) => {
    waiting.current.push(...more);
    if (timer.current !== null) return;
    const next = () => {
      const all = waiting.current;
      waiting.current = [];
      timer.current = null;
      if (all.length === 0) return;
      const rest = all.length > NAMED ? `, and ${all.length - NAMED} more` : "";
      setText(`${all.slice(0, NAMED).join(", ")}${rest}`);
      timer.current = setTimeout(next, INTERVAL_MS);
    };
    next();
  });
  useEffect(() => {
    const ended = cards.filter((card) => card.endedAt !== null && open.current.has(card.taskId));
    open.current = new Set(cards.filter((c) => c.endedAt === null).map((c) => c.taskId));
    if (ended.length > 0)
      say(...ended.map((card) => `${taskName(card)}: ${STATUS_LABELS[card.status]}`));
  }, [cards, say]);
  const isRefused = connection.kind === "refused" && !isSignInRequired(connection);
  const isAway = connection.kind === "reconnecting" || isRefused;
  const isLive = connection.kind === "live";
  useEffect(() => {
    if (isAway) setLost(true);
    if (isLive && isLost) {
      setLost(false);
      say("Connected again");
    }
  }, [isAway, isLive, isLost, say]);
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
