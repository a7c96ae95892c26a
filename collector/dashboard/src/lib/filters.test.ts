import { describe, expect, it } from "vitest";
import { failuresParams, isFiltering, tasksParams } from "./filters";

describe("filters as parameters of views", () => {
  const all = { project: "p", task: "t", type: "search", status: "failed", text: "county" };

  it("leaves out empty ones", () => {
    const empty = { project: "", task: "", type: "", status: "", text: "" };
    expect([tasksParams(empty), failuresParams({})]).toEqual([{}, {}]);
    expect([isFiltering(empty), isFiltering({ project: "p" })]).toEqual([false, false]);
    expect(isFiltering({ text: "county" })).toBe(true);
  });

  it("lists all tasks beside the chosen one, and its failures alone", () => {
    expect(tasksParams(all)).toEqual({
      project: "p",
      type: "search",
      status: ["failed"],
      text: "county",
    });
    expect(failuresParams(all)).toEqual({
      project: "p",
      task: "t",
      type: "search",
      text: "county",
    });
  });
});
