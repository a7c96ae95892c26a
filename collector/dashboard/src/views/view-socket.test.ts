import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  askedWait,
  backoffMs,
  type Connection,
  type ServerMessage,
  ViewSocket,
  viewsUrl,
} from "./view-socket";

class FakeSocket {
  static readonly OPEN = 1;
  static all: FakeSocket[] = [];
  readyState = 1;
  isClosed = false;
  sent: string[] = [];
  onmessage: ((message: { data: string }) => void) | null = null;
  onclose: ((close: { code: number; reason: string }) => void) | null = null;

  constructor(readonly url: string) {
    FakeSocket.all.push(this);
  }

  send(text: string): void {
    this.sent.push(text);
  }

  close(): void {
    this.isClosed = true;
  }

  receive(message: object): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }
}

const HELLO = { t: "hello", protocol: 1, at: 1000, limits: { subs: 16, count: 200, text: 200 } };

describe("ViewSocket", () => {
  let socket: ViewSocket;
  let connection: Connection;
  let received: ServerMessage[];
  const current = () => FakeSocket.all.at(-1) as FakeSocket;

  beforeEach(() => {
    vi.useFakeTimers();
    FakeSocket.all = [];
    received = [];
    const listener = {
      receive: (message: ServerMessage) => received.push(message),
      setConnection: (next: Connection) => {
        connection = next;
      },
    };
    socket = new ViewSocket(listener, {
      baseUrl: "http://host:1/x/",
      WebSocket: FakeSocket as unknown as typeof WebSocket,
      random: () => 1,
    });
    socket.start();
  });

  afterEach(() => {
    socket.stop();
    vi.useRealTimers();
  });

  it("asks below the path of its collector, over TLS where the page is", () => {
    expect(current().url).toBe("ws://host:1/x/ws/views");
    expect(viewsUrl("https://host/")).toBe("wss://host/ws/views");
  });

  it("waits twice as long after each failure, at most 3 s, with jitter in the upper half", () => {
    expect([1, 2, 3].map((attempt) => backoffMs(attempt, () => 1))).toEqual([500, 1000, 2000]);
    expect(backoffMs(50, () => 1)).toBe(3000);
    expect(backoffMs(50, () => 0)).toBe(1500);
  });

  it("shows the states of the connection in order", () => {
    expect(connection.kind).toBe("connecting");
    current().receive(HELLO);
    expect(connection.kind).toBe("live");
    vi.advanceTimersByTime(5000);
    expect(connection.kind).toBe("live");
    vi.advanceTimersByTime(2000);
    expect(connection.kind).toBe("stale");
    current().receive({ t: "tick", at: 2000, position: "e:7" });
    expect(connection.kind).toBe("live");
    vi.advanceTimersByTime(22_000);
    expect(connection.kind).toBe("reconnecting");
    expect(FakeSocket.all[0]?.isClosed).toBe(true);
  });

  it("connects again with growing waits, and from the shortest one after a success", () => {
    current().onclose?.({ code: 1006, reason: "" });
    vi.advanceTimersByTime(500);
    current().onclose?.({ code: 1006, reason: "" });
    vi.advanceTimersByTime(999);
    expect(FakeSocket.all).toHaveLength(2);
    vi.advanceTimersByTime(1);
    expect(FakeSocket.all).toHaveLength(3);
    current().receive(HELLO);
    current().onclose?.({ code: 1012, reason: "" });
    expect(connection).toMatchObject({ kind: "reconnecting", attempt: 1 });
  });

  it("comes back over 5 s after a restart, and says so", () => {
    expect(askedWait(1012, "", () => 0)).toEqual({ ms: 0, why: "restarting" });
    current().receive(HELLO);
    current().onclose?.({ code: 1012, reason: "collector is restarting, come back" });
    expect(connection).toMatchObject({ kind: "reconnecting", attempt: 1, why: "restarting" });
    vi.advanceTimersByTime(4999);
    expect(FakeSocket.all).toHaveLength(1);
    vi.advanceTimersByTime(1);
    expect(FakeSocket.all).toHaveLength(2);
    current().onclose?.({ code: 1006, reason: "" });
    expect(connection).toEqual({ kind: "reconnecting", at: Date.now() + 1000, attempt: 2 });
  });

  it("waits as long as a collector asks for to which many connect at once", () => {
    const reason = "many clients connect at once, come back in 12 s";
    expect(askedWait(1013, reason, () => 0)).toEqual({ ms: 12_000, why: "busy" });
    expect(askedWait(1013, "come back in 999 s", () => 1)?.ms).toBe(61_000);
    expect(askedWait(1013, "try again later", () => 1)).toBeNull();
    expect(askedWait(1006, reason, () => 1)).toBeNull();
    current().onclose?.({ code: 1013, reason });
    expect(connection).toMatchObject({ kind: "reconnecting", attempt: 1, why: "busy" });
    vi.advanceTimersByTime(12_999);
    expect(FakeSocket.all).toHaveLength(1);
    vi.advanceTimersByTime(1);
    expect(FakeSocket.all).toHaveLength(2);
  });

  it.each([
    [4401, "authentication required"],
    [4400, "bad request"],
  ])("does not reconnect after %i", (code, reason) => {
    current().onclose?.({ code, reason });
    vi.advanceTimersByTime(60_000);
    expect(connection).toEqual({ kind: "refused", code, reason });
    expect(FakeSocket.all).toHaveLength(1);
  });

  it("does not talk to a collector of another protocol", () => {
    current().receive({ ...HELLO, protocol: 2 });
    expect(connection).toMatchObject({ kind: "refused", code: 0 });
    expect(received).toEqual([]);
    expect(current().isClosed).toBe(true);
  });

  it("reconnects immediately on request, and only once", () => {
    current().onclose?.({ code: 1012, reason: "" });
    socket.retryNow();
    socket.retryNow();
    expect(FakeSocket.all).toHaveLength(2);
  });

  it("sends only while it is open", () => {
    socket.send({ op: "unsub", id: 1 });
    expect(current().sent).toEqual(['{"op":"unsub","id":1}']);
    current().readyState = 0;
    socket.send({ op: "unsub", id: 2 });
    expect(current().sent).toHaveLength(1);
  });

  it("does not reconnect after it was stopped", () => {
    socket.stop();
    vi.advanceTimersByTime(60_000);
    expect(FakeSocket.all).toHaveLength(1);
    expect(current().isClosed).toBe(true);
  });
});
