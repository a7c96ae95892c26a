import { expect, it } from "vitest";
import { besides, indexIn, isOrigin, type Origin } from "./origin";

const row = (node: string, job = `job ${node}`) => ({
  ...{ k: `t ${node}`, task: "t", title: "", type: null },
  node,
  job,
});
const rows = [row("a"), row("b", "twice"), row("c", "twice")];
const origin: Origin = { kind: "failure", key: "f", task: "t", job: "twice", node: "c" };

it("is where a job was opened from, while that job is shown", () => {
  expect(isOrigin(origin, "t", "twice", "")).toBe(true);
  expect(isOrigin(origin, "t", "other", "c")).toBe(false);
  expect(isOrigin(origin, "other", "twice", "c")).toBe(false);
  expect(isOrigin(origin, "t", null, "c")).toBe(false);
  expect(isOrigin(null, "t", "twice", "c")).toBe(false);
});

it("is where a task itself was opened from, while its row is shown", () => {
  const task = { ...origin, job: null, node: "root" };
  expect(isOrigin(task, "t", null, "root")).toBe(true);
  expect(isOrigin(task, "t", null, "other")).toBe(false);
});

it("knows the jobs beside it, by its attempt where a job failed twice", () => {
  expect(indexIn(rows, origin)).toBe(2);
  expect(besides(rows, origin, 1)).toBeNull();
  expect(besides(rows, origin, -1)?.node).toBe("b");
});

it("goes by the job where its attempt has left the list", () => {
  expect(indexIn(rows, { ...origin, node: "gone" })).toBe(1);
  expect(besides(rows, { ...origin, node: "gone", job: "gone" }, 1)).toBeNull();
});
