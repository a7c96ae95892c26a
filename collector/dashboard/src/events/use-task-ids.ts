/** Research tasks of the rows that were visible, to ask for their titles. */
import { useEffect, useRef, useState } from "react";
import type { Row } from "./table-rows";

/** Titles that one view can be asked for; those that were visible last are kept. */
const MAX_IDS = 200;
/** A changed list is another subscription, and the collector takes 20 messages a second. */
const INTERVAL_MS = 300;

/** The ids; the same array while no further task comes into view. */
export function useTaskIds(rows: readonly Row[], first: number, end: number): readonly string[] {
  const seen = useRef(new Set<string>());
  const [ids, setIds] = useState<readonly string[]>([]);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => {
    const set = seen.current;
    let isNew = false;
    for (let index = first; index < Math.min(end, rows.length); index++) {
      const row = rows[rows.length - 1 - index];
      const id = row?.kind === "event" ? row.event.parent_task_id : undefined;
      if (id === undefined) continue;
      isNew ||= !set.delete(id);
      set.add(id);
    }
    if (!isNew || timer.current !== undefined) return;
    const show = () => {
      timer.current = undefined;
      seen.current = new Set([...seen.current].slice(-MAX_IDS));
      setIds([...seen.current]);
    };
    timer.current = setTimeout(show, INTERVAL_MS);
  }, [rows, first, end]);
  useEffect(() => () => clearTimeout(timer.current), []);
  return ids;
}
