import { describe, expect, it } from "vitest";
import {
  applyChange,
  EMPTY_VIEW,
  entryFor,
  hasDetails,
  readView,
  runOf,
  writeView,
} from "./url-state";

describe("state in the URL", () => {
  it("reads back what it wrote and keeps parameters of other software", () => {
    const view = { ...EMPTY_VIEW, project: "a&b", text: "<x>", job: "t:1", paused: "1" };
    const query = writeView(view, "?keep=1&status=failed");
    expect(readView(query)).toEqual(view);
    expect(new URLSearchParams(query).get("keep")).toBe("1");
    expect(writeView(EMPTY_VIEW, "?q=x")).toBe("");
  });

  it("reads task and zoom of older links, and writes them as today", () => {
    const view = readView("?task=filtered&focus=shown&zoom=1.5-20");
    expect(view).toEqual({ ...EMPTY_VIEW, task: "shown", zoom: "1500-20000" });
    expect(writeView(view, "?focus=shown")).toBe("?task=shown&zoom=1500-20000");
    expect(readView("?focus=shown&zoom=soon").zoom).toBe("");
    expect(readView("?task=shown&zoom=15-20").zoom).toBe("15-20");
  });

  it("truncates what is too long for the collector, and ignores an unknown status", () => {
    const view = readView(`?q=${"x".repeat(300)}&task=${"y".repeat(600)}&status=toString`);
    expect([view.text.length, view.task.length, view.status]).toEqual([200, 512, ""]);
  });

  it("resets what belongs to a task with it, and a row with a job", () => {
    const view = { ...EMPTY_VIEW, task: "a", node: "n", zoom: "1-2", folds: "-n", text: "x" };
    expect(applyChange(view, { task: "b" })).toEqual({ ...EMPTY_VIEW, task: "b", text: "x" });
    expect(applyChange(view, { task: "a", tab: "workers" })).toEqual({ ...view, tab: "workers" });
    expect(applyChange(view, { task: "b", job: "j" })).toEqual({
      ...EMPTY_VIEW,
      task: "b",
      job: "j",
      text: "x",
    });
    expect(applyChange(view, { job: "j" })).toEqual({ ...view, node: "", job: "j" });
    expect(applyChange({ ...view, node: "", job: "j" }, { node: "n" })).toEqual(view);
  });

  it("opens details for a job, and for a row if asked to, and closes them with the task", () => {
    expect(hasDetails(readView("?task=a&job=j"))).toBe(true);
    expect(hasDetails(readView("?task=a&node=n&open=1"))).toBe(true);
    expect(hasDetails(readView("?task=a&node=n"))).toBe(false);
    expect(hasDetails(readView("?task=a&open=1"))).toBe(false);
    const view = { ...EMPTY_VIEW, task: "a", job: "j", run: "2", open: "1" };
    expect(applyChange(view, { task: "b" })).toEqual({ ...EMPTY_VIEW, task: "b" });
    expect(applyChange(view, { job: "i" })).toEqual({ ...view, job: "i", run: "" });
    expect(entryFor({ ...view, open: "" }, view, 0)).toBe("push");
  });

  it("reads the number of a run, and nothing else as one", () => {
    const runs = ["2", "0", "-1", "1.5", "x", ""].map((run) => runOf({ ...EMPTY_VIEW, run }));
    expect(runs).toEqual([2, null, null, null, null, null]);
  });

  it("makes an entry of the history for a choice, one for a key that is held, none to type", () => {
    const view = { ...EMPTY_VIEW, task: "a" };
    expect(entryFor(view, { ...view, task: "b" }, 0)).toBe("push");
    expect(entryFor(view, { ...view, zoom: "1-2" }, 0)).toBe("push");
    const zoomed = { ...view, zoom: "1-2" };
    expect(entryFor(zoomed, { ...view, zoom: "1-3" }, 50)).toBe("replace");
    expect(entryFor(zoomed, { ...view, zoom: "1-3" }, 1000)).toBe("push");
    expect(entryFor(zoomed, view, 50)).toBe("push");
    expect(entryFor(view, { ...view, text: "x", paused: "1" }, 1000)).toBe("replace");
    expect(entryFor(EMPTY_VIEW, { ...view, folds: "-n" }, 1000)).toBe("replace");
  });
});
