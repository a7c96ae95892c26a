import { describe, expect, it } from "vitest";
import { nextTask } from "./useShownTask";
import type { TaskRow } from "./view-types";

const task = (k: string, end: number | null = null) => ({ k, end }) as TaskRow;

describe("nextTask", () => {
  it("takes the newest task that runs, else the newest one", () => {
    expect(nextTask([task("c", 9), task("b"), task("a")], null)).toBe("b");
    expect(nextTask([task("b", 9), task("a", 8)], null)).toBe("b");
    expect(nextTask([], null)).toBeNull();
  });

  it("stays with a task while that runs, though newer ones start", () => {
    expect(nextTask([task("b"), task("a")], "a")).toBe("a");
    expect(nextTask([task("c"), task("b")], "a")).toBe("a");
  });

  it("leaves a task that has ended only for one that runs", () => {
    expect(nextTask([task("b", 9), task("a", 8)], "a")).toBe("a");
    expect(nextTask([task("b"), task("a", 8)], "a")).toBe("b");
  });
});
