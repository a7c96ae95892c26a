import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { FramePacer } from "./frame-pacer";
import type { ViewName } from "./reduce";

describe("FramePacer", () => {
  let pacer: FramePacer<{ view: ViewName }>;
  let shown: string[];
  let frames: (() => void)[];
  let isHidden: boolean;
  const frame = () => {
    const due = frames;
    frames = [];
    for (const callback of due) callback();
  };
  const change = (...views: ViewName[]) => {
    for (const view of views) pacer.note({ view });
  };

  beforeEach(() => {
    vi.useFakeTimers();
    shown = [];
    frames = [];
    isHidden = false;
    const host = {
      monotonic: () => Date.now(),
      requestFrame: (callback: () => void) => frames.push(callback),
      isHidden: () => isHidden,
    };
    pacer = new FramePacer(host, (changed, isOther) =>
      shown.push([...changed.map(({ view }) => view), isOther ? "other" : ""].join(" ").trim()),
    );
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  it("shows one long list in each frame, the one that waits the longest first", () => {
    change("events", "overview", "tree", "strip", "tasks", "tasks");
    frame();
    change("events");
    for (let n = 0; n < 4; n++) frame();
    expect(shown).toEqual(["events overview strip", "tree", "tasks tasks", "events"]);
    expect(frames).toEqual([]);
  });

  it("shows what belongs to no view in the next frame", () => {
    pacer.noteOther();
    pacer.noteOther();
    frame();
    expect(shown).toEqual(["other"]);
  });

  it("shows everything at once on a hidden page, once a second, and when it is visible again", () => {
    isHidden = true;
    change("tree", "events");
    vi.advanceTimersByTime(1000);
    expect(shown).toEqual(["tree events"]);
    change("tree", "tasks");
    isHidden = false;
    pacer.replan();
    expect(shown).toEqual(["tree events", "tree tasks"]);
    vi.advanceTimersByTime(5000);
    expect(shown).toHaveLength(2);
  });

  it("does not show what was forgotten", () => {
    const item = { view: "tree" } as const;
    pacer.note(item);
    pacer.forget(item);
    frame();
    expect(shown.join("")).toBe("");
  });
});
