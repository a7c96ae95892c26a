import { expect, it } from "vitest";
import { LiveFold } from "./fold";
import type { MonitoringEvent } from "../feed/wire";

const TIME = "2026-11-24T12:00:00.000000Z";

it.each(["new_type", "toString", "__proto__", ""])(
  "makes nothing of the ids in an event of type %j, but knows it when it comes again",
  (kind) => {
    const fold = new LiveFold();
    const event: MonitoringEvent = {
      event_id: "a",
      ts: TIME,
      event_type: kind,
      parent_task_id: "t",
      task_id: "j",
      phase: "search",
      worker_id: 3,
      counts: { total: 5 },
    };
    expect(fold.apply(event, 0)).toBe(true);
    expect(fold.apply(event, 0)).toBe(false);
    const sizes = [fold.tasks, fold.jobs, fold.workers, fold.queues, fold.failures, fold.changed];
    expect(sizes.map((held) => held.size)).toEqual([0, 0, 0, 0, 0, 0]);
    fold.backfill("t", [event]);
    expect(fold.tasks.size).toBe(0);
  },
);
