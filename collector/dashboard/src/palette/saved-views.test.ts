import { describe, expect, it } from "vitest";
import { readViews, withView } from "./saved-views";

describe("saved views", () => {
  it("reads what was stored, and nothing from what another program left there", () => {
    expect(readViews(null)).toEqual([]);
    expect(readViews("{")).toEqual([]);
    expect(readViews('{"name":"a"}')).toEqual([]);
    expect(readViews('[{"name":"a","query":"?q=x"},{"name":""},null,3]')).toEqual([
      { name: "a", query: "?q=x" },
    ]);
  });

  it("saves under a name once, and under no empty one", () => {
    const views = withView(withView([], "a", "?q=1"), " a ", "?q=2");
    expect(views).toEqual([{ name: "a", query: "?q=2" }]);
    expect(withView(views, " ", "?q=3")).toBe(views);
  });

  it("keeps the newest fifty", () => {
    let views = withView([], "0", "");
    for (let n = 1; n <= 50; n++) views = withView(views, String(n), "");
    expect([views.length, views[0]?.name]).toEqual([50, "1"]);
  });
});
