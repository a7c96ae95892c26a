import { describe, expect, it } from "vitest";
import { CollectorClock } from "./collector-clock";

describe("CollectorClock", () => {
  it("trusts the message that came fastest in the last minute", () => {
    let here = 0;
    const clock = new CollectorClock(() => here);
    here = 1500; // on its way for 500 ms
    expect(clock.note(11_000)).toBe(0);
    here = 2020; // on its way for 20 ms
    clock.note(12_000);
    expect(clock.now()).toBe(12_000);
    here = 2900; // on its way for 400 ms: 380 later than the fastest
    expect(clock.note(12_500)).toBe(380);
    expect(clock.now()).toBe(12_880);
    here = 2020 + 60_000;
    clock.note(71_800);
    expect(clock.now()).toBe(71_800);
    expect(clock.lastAt).toBe(71_800);
  });

  it("does not go back to the time of a window that was made long ago", () => {
    const clock = new CollectorClock(() => 100);
    clock.note(900_000);
    clock.note(5000);
    expect(clock.lastAt).toBe(900_000);
    expect(clock.now()).toBe(900_000);
  });

  it("starts again after a reset, because another machine may answer", () => {
    const clock = new CollectorClock(() => 100);
    clock.note(5000);
    clock.reset();
    clock.note(1000);
    expect(clock.now()).toBe(1000);
  });
});
