import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { backoffMs, FeedSocket, feedUrl } from "./feed-socket";
import { FeedStore } from "./feed-store";

class FakeSocket {
  static readonly OPEN = 1;
  static all: FakeSocket[] = [];
  readyState = 1;
  isClosed = false;
  onmessage: ((message: { data: string }) => void) | null = null;
  onclose: ((close: { code: number; reason: string }) => void) | null = null;

  constructor(readonly url: string) {
    FakeSocket.all.push(this);
  }

  close(): void {
    this.isClosed = true;
  }

  send(items: unknown[]): void {
    this.onmessage?.({ data: JSON.stringify(items) });
  }
}

const TICK = { type: "tick", server_time: "2026-01-01T00:00:00Z", position: "e:7" };

describe("FeedSocket", () => {
  let store: FeedStore;
  let socket: FeedSocket;
  const current = () => FakeSocket.all.at(-1) as FakeSocket;
  const kind = () => store.get("connection").kind;

  beforeEach(() => {
    vi.useFakeTimers();
    FakeSocket.all = [];
    store = new FeedStore({
      now: () => Date.now(),
      requestFrame: (callback) => setTimeout(callback, 0),
      setTimer: (callback, delayMs) => setTimeout(callback, delayMs),
      clearTimer: (timer) => clearTimeout(timer as number),
      isHidden: () => false,
    });
    socket = new FeedSocket(store, {
      baseUrl: "http://host:1/x/",
      projectId: null,
      WebSocket: FakeSocket as unknown as typeof WebSocket,
      random: () => 1,
    });
    socket.start();
  });

  afterEach(() => {
    socket.stop();
    vi.useRealTimers();
  });

  it("asks for a snapshot first and resumes by position after the connection was lost", () => {
    expect(current().url).toBe("ws://host:1/x/ws/monitor?snapshot=true&batch_ms=50");
    current().send([TICK]);
    current().onclose?.({ code: 1006, reason: "" });
    vi.advanceTimersByTime(500);
    expect(FakeSocket.all).toHaveLength(2);
    expect(new URL(current().url).searchParams.get("since")).toBe("e:7");
  });

  it("waits twice as long after each failure, at most 15 s, with jitter in the upper half", () => {
    expect([1, 2, 3].map((attempt) => backoffMs(attempt, () => 1))).toEqual([500, 1000, 2000]);
    expect(backoffMs(50, () => 1)).toBe(15_000);
    expect(backoffMs(50, () => 0)).toBe(7500);
  });

  it("shows the states of the connection in order", () => {
    expect(kind()).toBe("connecting");
    current().send([TICK]);
    vi.advanceTimersByTime(300);
    expect(kind()).toBe("live");
    vi.advanceTimersByTime(8000);
    expect(kind()).toBe("stale");
    vi.advanceTimersByTime(14_000);
    expect(kind()).toBe("reconnecting");
    expect(FakeSocket.all[0]?.isClosed).toBe(true);
  });

  it("does not reconnect when the collector refuses the connection", () => {
    current().onclose?.({ code: 4400, reason: "types: unknown" });
    vi.advanceTimersByTime(60_000);
    expect(store.get("connection")).toEqual({
      kind: "refused",
      code: 4400,
      reason: "types: unknown",
    });
    expect(FakeSocket.all).toHaveLength(1);
  });

  it("reconnects immediately on request, and only once", () => {
    current().onclose?.({ code: 1012, reason: "" });
    socket.retryNow();
    socket.retryNow();
    expect(FakeSocket.all).toHaveLength(2);
  });

  it("does not reconnect after it was stopped", () => {
    socket.stop();
    vi.advanceTimersByTime(60_000);
    expect(FakeSocket.all).toHaveLength(1);
    expect(current().isClosed).toBe(true);
  });

  it("puts the project into the URL, escaped", () => {
    const url = new URL(feedUrl("https://host/", "a&b=c", null));
    expect(url.protocol).toBe("wss:");
    expect(url.searchParams.get("project_id")).toBe("a&b=c");
  });
});
