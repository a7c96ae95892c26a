import { describe, expect, it } from "vitest";
import { applyChange, EMPTY_VIEW, readView, writeView } from "./url-state";

describe("state in the URL", () => {
  it("reads back what it wrote and keeps parameters of other software", () => {
    const view = { ...EMPTY_VIEW, project: "a&b", text: "<x>", paused: "1" };
    const query = writeView(view, "?keep=1&status=failed");
    expect(readView(query)).toEqual(view);
    expect(new URLSearchParams(query).get("keep")).toBe("1");
    expect(writeView(EMPTY_VIEW, "?q=x")).toBe("");
  });

  it("resets zoom and folded phases of the waterfall when its task changes", () => {
    const view = { ...EMPTY_VIEW, focus: "a", zoom: "1-2", folds: "-search", text: "x" };
    expect(applyChange(view, { focus: "b" })).toEqual({ ...EMPTY_VIEW, focus: "b", text: "x" });
    expect(applyChange(view, { focus: "a", tab: "workers" })).toEqual({ ...view, tab: "workers" });
  });
});
