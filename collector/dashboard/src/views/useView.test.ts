import { createElement } from "react";
import { renderToString } from "react-dom/server";
import { describe, expect, it } from "vitest";
import { useMonitoringFeed } from "./useMonitoringFeed";
import { type InitialWindow, useView } from "./useView";
import type { Views } from "./view-types";

function Tasks(props: {
  params: Views["tasks"]["params"] | null;
  initial?: InitialWindow<"tasks">;
}) {
  const feed = useMonitoringFeed({ baseUrl: "http://host/" });
  const view = useView(feed, "tasks", props.params, props.initial);
  const keys = view.rows.map((row) => row.k).join(",");
  return `${view.status} ${view.isRefreshing} [${keys}] ${feed.events.length}`;
}

describe("useView on a server", () => {
  it("shows the window that it was given, and that a newer one is to come", () => {
    const head = { first: 0, total: 1, total_all: 1, attention: 0, pinned: 0, groups: null };
    const initial = { head, rows: [{ k: "t1" }] as never, at: 5 };
    expect(renderToString(createElement(Tasks, { params: {}, initial }))).toBe(
      "loading true [t1] 0",
    );
  });

  it("waits without one, and is off without parameters", () => {
    expect(renderToString(createElement(Tasks, { params: {} }))).toBe("loading false [] 0");
    expect(renderToString(createElement(Tasks, { params: null }))).toBe("off false [] 0");
  });
});
