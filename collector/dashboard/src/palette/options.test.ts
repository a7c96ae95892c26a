import { describe, expect, it } from "vitest";
import { matching, movedBy } from "./options";

const labels = (typed: string) =>
  matching(
    [
      { id: "1", label: "Old schools", detail: "a1b2" },
      { id: "2", label: "Schools in Georgia", kind: "task" },
      { id: "3", label: "preschools", kind: "job" },
      { id: "4", label: "hospitals" },
    ],
    typed,
  ).map((option) => option.label);

describe("options of a list", () => {
  it("offers all for no text, in their order", () => {
    expect(labels(" ")).toHaveLength(4);
  });

  it("puts labels that start with the text before words that do, and those before the rest", () => {
    expect(labels("SCHOOLS")).toEqual(["Schools in Georgia", "Old schools", "preschools"]);
  });

  it("wants every word, in label, detail or kind", () => {
    expect(labels("schools a1")).toEqual(["Old schools"]);
    expect(labels("job pre")).toEqual(["preschools"]);
    expect(labels("schools hospitals")).toEqual([]);
  });

  it("moves round the ends by arrows, and to them by pages", () => {
    expect([movedBy("ArrowDown", 2, 3), movedBy("ArrowUp", 0, 3)]).toEqual([0, 2]);
    expect([movedBy("PageDown", 1, 3), movedBy("PageUp", 1, 3)]).toEqual([2, 0]);
    expect([movedBy("x", 1, 3), movedBy("ArrowDown", 0, 0)]).toEqual([null, null]);
  });
});
