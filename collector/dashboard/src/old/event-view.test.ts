import { describe, expect, it } from "vitest";
import type { MonitoringEvent } from "../feed/wire";
import { EventView, type EventWish, isWanted } from "./event-view";
import type { Row } from "./slices";

const WISH: EventWish = { task: "", type: "", status: "", text: "", isAll: false };

const base: MonitoringEvent = {
  event_id: "e",
  ts: "2026-01-01T00:00:00Z",
  event_type: "task_failed",
  task_id: "j1",
  parent_task_id: "t1",
  phase: "search",
  error: "Timeout after 3 s",
};

describe("table filter", () => {
  it("matches task, type, status and text, and leaves the background out", () => {
    const wanted = (wish: Partial<EventWish>) => isWanted(base, { ...WISH, ...wish });
    expect(wanted({})).toBe(true);
    expect([wanted({ task: "t1" }), wanted({ task: "t2" })]).toEqual([true, false]);
    expect([wanted({ type: "search" }), wanted({ type: "extract" })]).toEqual([true, false]);
    expect([wanted({ status: "failed" }), wanted({ status: "completed" })]).toEqual([true, false]);
    expect([wanted({ text: "TIMEOUT" }), wanted({ text: "zebra" })]).toEqual([true, false]);
    const beat: MonitoringEvent = { ...base, event_type: "worker_heartbeat" };
    expect([isWanted(beat, WISH), isWanted(beat, { ...WISH, isAll: true })]).toEqual([false, true]);
  });

  it("gives, row by row, what filtering everything anew would give", () => {
    const all: Row[] = [];
    const view = new EventView();
    const wish = { ...WISH, status: "failed" };
    for (let n = 1; n <= 500; n++) {
      const type = n % 3 === 0 ? "task_failed" : "task_started";
      all.push({ kind: "event", n, at: n, event: { ...base, event_id: `${n}`, event_type: type } });
      if (n % 7 !== 0) continue;
      const kept = all.slice(-100);
      const fresh = new EventView().update(kept, 0, wish);
      expect(view.update(kept, 0, wish)).toEqual(fresh);
    }
  });
});
