import { describe, expect, it } from "vitest";
import { changed, EMPTY_VIEW, readView, writeView } from "./url-state";

describe("address bar", () => {
  it("reads back what it wrote and leaves others' parameters alone", () => {
    const view = { ...EMPTY_VIEW, project: "a&b", text: "<x>", paused: "1" };
    const query = writeView(view, "?keep=1&status=failed");
    expect(readView(query)).toEqual(view);
    expect(new URLSearchParams(query).get("keep")).toBe("1");
    expect(writeView(EMPTY_VIEW, "?q=x")).toBe("");
  });

  it("forgets the stretch and the folds of the waterfall with its task", () => {
    const view = { ...EMPTY_VIEW, focus: "a", zoom: "1-2", folds: "-search", text: "x" };
    expect(changed(view, { focus: "b" })).toEqual({ ...EMPTY_VIEW, focus: "b", text: "x" });
    expect(changed(view, { focus: "a", tab: "workers" })).toEqual({ ...view, tab: "workers" });
  });
});
