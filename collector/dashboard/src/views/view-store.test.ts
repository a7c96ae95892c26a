import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { canonicalParams, ViewStore } from "./view-store";

interface Sent {
  op: string;
  id?: number;
  view?: string;
  params?: object;
  on?: boolean;
}

const LIMITS = { subs: 16, count: 200, text: 200 };

describe("ViewStore", () => {
  let store: ViewStore;
  let sent: Sent[];
  let frames: (() => void)[];
  let isHidden: boolean;
  const hello = () => {
    store.setConnection({ kind: "live", lagMs: null });
    store.receive({ t: "hello", protocol: 1, at: Date.now(), limits: LIMITS } as never);
  };
  const receive = (message: object) => store.receive(message as never);
  const full = (s: number, rows: object[], v = 1) =>
    receive({ t: "full", s, v, at: Date.now(), head: { total: rows.length }, rows });
  const frame = () => {
    const due = frames;
    frames = [];
    for (const callback of due) callback();
  };
  const ops = () => sent.map(({ op, id }) => `${op} ${id}`);
  const answer = (s: number) => receive({ t: "sub", id: sent.at(-1)?.id, s });

  beforeEach(() => {
    vi.useFakeTimers();
    sent = [];
    frames = [];
    isHidden = false;
    store = new ViewStore({
      monotonic: () => Date.now(),
      requestFrame: (callback) => frames.push(callback),
      isHidden: () => isHidden,
    });
    store.connect({ send: (message) => sent.push(message as Sent) });
    hello();
    frame();
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  it("shares one subscription between equal parameters, whatever their order", () => {
    store.subscribe("tasks", { count: 20, text: null, project: "p" }, () => undefined);
    store.subscribe("tasks", { project: "p", count: 20 }, () => undefined);
    store.subscribe("tasks", { project: "q", count: 20 }, () => undefined);
    expect(sent.map(({ op, view, params }) => [op, view, params])).toEqual([
      ["sub", "tasks", { count: 20, project: "p" }],
      ["sub", "tasks", { count: 20, project: "q" }],
    ]);
    expect(canonicalParams({ b: 1, a: [2], c: undefined })).toBe('{"a":[2],"b":1}');
  });

  it("keeps a subscription for a second after its last user, and drops it then", () => {
    const stop = store.subscribe("tasks", {}, () => undefined);
    stop();
    vi.advanceTimersByTime(500);
    const stopAgain = store.subscribe("tasks", {}, () => undefined);
    stopAgain();
    vi.advanceTimersByTime(999);
    expect(ops()).toEqual(["sub 1"]);
    vi.advanceTimersByTime(1);
    expect(ops()).toEqual(["sub 1", "unsub 1"]);
  });

  it("renders once for all messages of a frame", () => {
    const listener = vi.fn();
    store.subscribe("tasks", {}, listener);
    answer(5);
    full(5, [{ k: "a" }]);
    receive({ t: "change", s: 5, v: 2, at: 1, cut: [1, 0, ["b"]], rows: [{ k: "b" }] });
    expect(listener).not.toHaveBeenCalled();
    expect(store.snapshot("tasks", {}).status).toBe("loading");
    frame();
    expect(listener).toHaveBeenCalledTimes(1);
    expect(store.snapshot("tasks", {})).toMatchObject({
      status: "live",
      head: { total: 1 },
      rows: [{ k: "a" }, { k: "b" }],
    });
    expect(store.snapshot("tasks", {})).toBe(store.snapshot("tasks", {}));
  });

  it("asks again when a change is missing, and skips changes until the full has come", () => {
    store.subscribe("tasks", {}, () => undefined);
    answer(5);
    full(5, [{ k: "a" }]);
    receive({ t: "change", s: 5, v: 3, at: 1, head: { total: 9 } });
    receive({ t: "change", s: 5, v: 4, at: 1, head: { total: 10 } });
    expect(ops()).toEqual(["sub 1", "sub 1"]);
    full(5, [{ k: "z" }], 4);
    receive({ t: "change", s: 5, v: 5, at: 1, head: { total: 11 } });
    frame();
    expect(store.snapshot("tasks", {})).toMatchObject({ head: { total: 11 }, rows: [{ k: "z" }] });
    expect(ops()).toHaveLength(2);
  });

  it("shows both subscriptions that the collector takes for one", () => {
    store.subscribe("queues", {}, () => undefined);
    answer(5);
    full(5, [{ k: "a" }]);
    store.subscribe("queues", { count: 60 }, () => undefined);
    answer(5);
    full(5, [{ k: "a" }]);
    receive({ t: "change", s: 5, v: 2, at: 1, head: { total: 3 } });
    frame();
    expect(store.snapshot("queues", {}).head).toEqual({ total: 3 });
    expect(store.snapshot("queues", { count: 60 }).head).toEqual({ total: 3 });
  });

  it("keeps what it shows while the connection is lost, and asks for all again", () => {
    store.subscribe("tasks", {}, () => undefined);
    answer(5);
    full(5, [{ k: "a" }]);
    frame();
    const before = store.snapshot("tasks", {});
    store.setConnection({ kind: "reconnecting", at: 0, attempt: 1 });
    frame();
    expect(store.snapshot("tasks", {})).toMatchObject({ status: "stale", rows: before.rows });
    hello();
    expect(ops()).toEqual(["sub 1", "sub 1"]);
    answer(77);
    full(77, [{ k: "a" }, { k: "b" }]);
    frame();
    const after = store.snapshot("tasks", {});
    expect(after.status).toBe("live");
    expect(after.rows[0]).toBe(before.rows[0]);
  });

  it("stands still at the last time that it heard of", () => {
    const start = store.now();
    vi.advanceTimersByTime(3000);
    expect(store.now()).toBe(start + 3000);
    store.setConnection({ kind: "stale", since: 0 });
    expect(store.now()).toBe(start);
    vi.advanceTimersByTime(60_000);
    expect(store.now()).toBe(start);
  });

  it("holds everything but the overview while paused, also over a lost connection", () => {
    store.subscribe("tasks", {}, () => undefined);
    answer(5);
    full(5, [{ k: "a" }]);
    store.subscribe("overview", {}, () => undefined);
    store.hold(true);
    const pausedAt = store.now();
    vi.advanceTimersByTime(4000);
    expect(store.now()).toBe(pausedAt);
    expect(sent.at(-1)).toEqual({ op: "hold", on: true });
    sent = [];
    hello();
    frame();
    expect(sent.map(({ op, view }) => view ?? op)).toEqual(["overview", "hold"]);
    expect(store.snapshot("tasks", {}).status).toBe("live");
    store.hold(false);
    expect(sent.slice(2).map(({ op, view }) => view ?? op)).toContain("tasks");
  });

  it("holds while the page is hidden, and goes on when it is visible", () => {
    isHidden = true;
    store.noteVisibility();
    isHidden = false;
    store.noteVisibility();
    expect(sent).toEqual([
      { op: "hold", on: true },
      { op: "hold", on: false },
    ]);
  });

  it("updates a hidden page without animation frames", () => {
    const listener = vi.fn();
    store.subscribe("overview", {}, listener);
    answer(5);
    isHidden = true;
    store.noteVisibility();
    full(5, []);
    vi.advanceTimersByTime(1000);
    expect(listener).toHaveBeenCalled();
  });

  it("says that what a view shows is gone, and shows it when it is there again", () => {
    store.subscribe("tree", { task: "t" }, () => undefined);
    answer(5);
    full(5, [{ k: "a" }]);
    receive({ t: "gone", s: 5, why: "evicted" });
    frame();
    expect(store.snapshot("tree", { task: "t" })).toMatchObject({
      status: "gone",
      why: "evicted",
      head: null,
      rows: [],
    });
    full(5, [{ k: "a" }]);
    frame();
    expect(store.snapshot("tree", { task: "t" }).status).toBe("live");
  });

  it("says why a view is refused, and asks again only where that can help", () => {
    store.subscribe("tree", { task: "t" }, () => undefined);
    receive({ t: "refused", id: 1, why: "params", detail: "view: unknown" });
    store.subscribe("tasks", {}, () => undefined);
    receive({ t: "refused", id: 2, why: "busy", detail: "try again later" });
    frame();
    expect(store.snapshot("tree", { task: "t" })).toMatchObject({
      status: "refused",
      why: "view: unknown",
    });
    vi.advanceTimersByTime(5000);
    expect(ops()).toEqual(["sub 1", "sub 2", "sub 2"]);
  });

  it("drops what has no user before the collector's limit is reached", () => {
    for (let n = 0; n < 40; n++)
      store.subscribe("tree", { task: "t", count: n + 1 }, () => undefined)();
    const open = new Set<number>();
    let most = 0;
    for (const { op, id } of sent) {
      if (op === "sub") open.add(id as number);
      else open.delete(id as number);
      most = Math.max(most, open.size);
    }
    expect(most).toBe(16);
  });

  it("ignores messages that only a newer collector knows", () => {
    receive({ t: "later", s: 5, anything: 1 });
    receive({ t: "full", s: 99, v: 1, at: 1, head: {}, rows: [] });
    expect(store.snapshot("tasks", {}).status).toBe("loading");
  });
});
