import { useEffect, useRef, useState } from "react";
import { STATUS_WORDS, taskName } from "./format";
import type { CardView } from "./views";

/** A screen reader is told at most so often; what happens between is told together. */
const INTERVAL_MS = 5000;
const NAMED = 3;

/** Says politely which research tasks ended; never the events' rows, which would never stop. */
export function EndAnnouncer({ cards }: { cards: readonly CardView[] }) {
  const [text, setText] = useState("");
  const open = useRef<ReadonlySet<string>>(new Set());
  const ended = useRef<string[]>([]);
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  useEffect(() => {
    for (const card of cards) {
      if (card.endedAt === null || !open.current.has(card.taskId)) continue;
      ended.current.push(`${taskName(card)}: ${STATUS_WORDS[card.status]}`);
    }
    open.current = new Set(cards.filter((c) => c.endedAt === null).map((c) => c.taskId));
    if (ended.current.length === 0 || timer.current !== null) return;
    const say = () => {
      const all = ended.current;
      ended.current = [];
      timer.current = null;
      if (all.length === 0) return;
      const more = all.length > NAMED ? `, and ${all.length - NAMED} more` : "";
      setText(`${all.slice(0, NAMED).join(", ")}${more}`);
      timer.current = setTimeout(say, INTERVAL_MS);
    };
    say();
  }, [cards]);
  useEffect(() => () => clearTimeout(timer.current ?? undefined), []);
  return (
    <span className="offscreen" role="status" data-testid="ended">
      {text}
    </span>
  );
}
