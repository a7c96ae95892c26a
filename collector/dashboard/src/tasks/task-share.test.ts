import { describe, expect, it } from "vitest";
import { shareOf } from "./task-share";

const TASK = {
  k: "6ba529d4",
  trace: "de0295aa6dad6bc7aabe1d39c4da09bc",
  status: "processing",
  done: 1,
  failed: 0,
  pending: 1,
  running: 1,
} as const;

describe("the share of a task's jobs that have ended", () => {
  it("is 1 only when the task is completed", () => {
    expect(shareOf({ ...TASK, pending: 3 })).toBe(0.25);
    expect(shareOf({ ...TASK, done: 0 })).toBe(0);
    expect(shareOf({ ...TASK, status: "completed" })).toBe(1);
  });

  it("is not known where all known jobs have ended and the task has not", () => {
    expect(shareOf({ ...TASK, pending: 0 })).toBeNull();
    expect(shareOf({ ...TASK, done: 0, pending: 0 })).toBeNull();
    expect(shareOf({ ...TASK, status: "failed", failed: 1, pending: 0 })).toBeNull();
  });

  it("is not known of a trace whose jobs are known when they run", () => {
    const agent = { ...TASK, k: TASK.trace };
    expect(shareOf(agent)).toBeNull();
    expect(shareOf({ ...agent, status: "failed", running: 0, pending: 0 })).toBeNull();
    expect(shareOf({ ...agent, pending: 3 })).toBe(0.25);
    expect(shareOf({ ...agent, status: "completed" })).toBe(1);
  });
});
