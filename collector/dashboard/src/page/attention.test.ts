import { describe, expect, it } from "vitest";
import type { Attention, OverviewHead, QueueRow } from "../views/view-types";
import { partsOf, runningText, titleOf, troublesOf } from "./attention";

const NOW = 1_000_000;
const STALLED: Attention = {
  kind: "task_stalled",
  name: "Private schools GA",
  count: 2,
  since: NOW - 65_000,
  key: "t1",
  task: "t1",
};
const STUCK: Attention = {
  kind: "queue_stuck",
  name: "nexus:tasks:emails_priority",
  count: 40,
  since: NOW - 240_000,
  key: "nexus:tasks:emails_priority",
  task: null,
};
const LOST: Attention = { ...STALLED, kind: "worker_lost", name: "w-1", key: "w-1 ab", task: null };
const FAILING: Attention = { ...STALLED, kind: "task_failing", since: null, count: 29 };
const SLOW: Attention = { ...STALLED, kind: "slow_job", name: "t1:search-0057", key: "0a" };

const head = (attention: readonly Attention[] | undefined, tasks: OverviewHead["tasks"]) =>
  ({ tasks, attention }) as unknown as OverviewHead;
const texts = (...troubles: Attention[]) => partsOf(troubles, NOW).map((part) => part.text);

describe("what needs attention", () => {
  it("says each trouble in a sentence, with since when", () => {
    expect(texts(STALLED, LOST, STUCK, FAILING, SLOW)).toEqual([
      "Private schools GA stalled, last heard 1 min ago",
      "worker w-1 lost 1 min ago with 2 jobs",
      "queue emails has waited 4 min",
      "Private schools GA: 29 failed",
      "search-0057 and 1 more far slower than others",
    ]);
    expect(texts({ ...STALLED, since: null }, { ...STUCK, since: null })).toEqual([
      "Private schools GA stalled",
      "queue emails is stuck",
    ]);
  });

  it("says why a queue is stuck only if that is known", () => {
    const queue = (stuck: QueueRow["stuck"]) => [{ k: STUCK.key, stuck } as QueueRow];
    const said = (stuck: QueueRow["stuck"]) => partsOf([STUCK], NOW, queue(stuck))[0]?.text;
    expect(said("no_workers")).toBe("queue emails has waited 4 min: no worker takes from it");
    expect(said("not_taken")).toBe("queue emails has waited 4 min: its workers take no job");
    expect(said(null)).toBe("queue emails has waited 4 min");
  });

  it("leads to the details of each", () => {
    expect(partsOf([STALLED, LOST, STUCK, FAILING, SLOW], NOW).map((part) => part.to)).toEqual([
      { task: "t1" },
      { worker: "w-1 ab" },
      { queue: "nexus:tasks:emails_priority" },
      { task: "t1", tab: "" },
      { task: "t1", node: "0a", open: "1" },
    ]);
  });

  it("truncates a long name in its middle", () => {
    const [text] = texts({ ...STALLED, name: `search-${"x".repeat(60)}-0057` });
    expect(text).toMatch(/^search-x+…x+-0057 stalled/);
    expect(text?.length).toBeLessThan(64);
  });

  it("keeps apart that nothing is wrong and that nothing is known", () => {
    expect(troublesOf(null)).toBeNull();
    expect(troublesOf(head(undefined, {}))).toBeNull();
    expect(troublesOf(head([], {}))).toEqual([]);
    expect(runningText(null)).toBeNull();
    expect(runningText(head([], { processing: 2, retrying: 1 }))).toBe("3 running");
  });
});

describe("the title of the tab", () => {
  it("counts what runs while nothing is wrong", () => {
    expect(titleOf(head(undefined, { processing: 3, stalled: 1 }), false)).toBe(
      "3 running, 1 stalled · otel-bridge",
    );
    expect(titleOf(head([], {}), false)).toBe("otel-bridge");
  });

  it("names trouble instead, the most urgent two kinds", () => {
    expect(titleOf(head([STALLED, STUCK, SLOW], { processing: 3, stalled: 1 }), false)).toBe(
      "! 1 stalled, emails stuck · otel-bridge",
    );
    expect(titleOf(head([STUCK], { processing: 3 }), false)).toBe(
      "! emails stuck, 3 running · otel-bridge",
    );
    expect(titleOf(head([LOST, { ...LOST, key: "b" }, FAILING], {}), false)).toBe(
      "! 2 workers lost, 1 failing · otel-bridge",
    );
  });

  it("says no old numbers without a connection", () => {
    expect(titleOf(head([], { processing: 3 }), true)).toBe("No connection · otel-bridge");
  });
});
