import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { PacedSender } from "./paced-sender";

describe("PacedSender", () => {
  let sender: PacedSender;
  let sent: object[];
  const ids = () => sent.map((message) => Object.values(message).join(" "));

  beforeEach(() => {
    vi.useFakeTimers();
    sent = [];
    sender = new PacedSender(() => Date.now());
    sender.connect({ send: (message) => sent.push(message) });
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  it("sends at most 18 messages in any second, and the others later in their order", () => {
    for (let id = 0; id < 40; id++) sender.send({ op: "sub", id });
    expect(sent).toHaveLength(18);
    vi.advanceTimersByTime(999);
    expect(sent).toHaveLength(18);
    vi.advanceTimersByTime(1);
    expect(sent).toHaveLength(36);
    vi.advanceTimersByTime(1000);
    expect(ids()).toEqual(Array.from({ length: 40 }, (_, id) => `sub ${id}`));
  });

  it("sends the latest message about a subscription only", () => {
    for (let id = 0; id < 18; id++) sender.send({ op: "sub", id });
    sender.send({ op: "sub", id: 90 });
    sender.send({ op: "sub", id: 91 });
    sender.send({ op: "unsub", id: 90 });
    vi.advanceTimersByTime(1000);
    expect(ids().slice(18)).toEqual(["sub 91", "unsub 90"]);
  });

  it("drops what waits when the connection is another one", () => {
    for (let id = 0; id < 30; id++) sender.send({ op: "sub", id });
    sender.clear();
    vi.advanceTimersByTime(5000);
    expect(sent).toHaveLength(18);
  });
});
