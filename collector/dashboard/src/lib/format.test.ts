import { describe, expect, it } from "vitest";
import {
  ago,
  approximately,
  count,
  duration,
  jobName,
  percent,
  progressShare,
  progressText,
  queueLabel,
  rate,
  reasonText,
  shortId,
  shortJob,
  splitName,
  taskName,
  withSpaces,
} from "./format";

describe("formats", () => {
  it("writes identifiers with spaces, but not paths of code", () => {
    expect(withSpaces("data_aggregation_search")).toBe("data aggregation search");
    expect(withSpaces("BaseWorkflowAgent.setup_agent")).toBe("BaseWorkflowAgent.setup_agent");
    expect(withSpaces("Read my_file of today")).toBe("Read my_file of today");
  });

  it("keeps the end of a name, where siblings differ", () => {
    expect(splitName("search-0057")).toEqual(["sear", "ch-0057"]);
    expect(splitName("plan")).toEqual(["plan", ""]);
    expect(splitName("travel planner 🧭🧭🧭🧭🧭🧭🧭").join("")).toBe(
      "travel planner 🧭🧭🧭🧭🧭🧭🧭",
    );
  });

  it("writes durations briefly", () => {
    expect([0, 0.02, 3.25, 41, 12_400, 185_000, 7_800_000].map(duration)).toEqual([
      "0 ms",
      "<0.1 ms",
      "3.3 ms",
      "41 ms",
      "12.4 s",
      "3m 05s",
      "2h 10m",
    ]);
    expect(duration(null)).toBe("");
  });

  it("writes how far a job is, with its share only where it is known", () => {
    const some = [
      { done: 3, total: 10 },
      { done: 3, total: null },
      { done: 12, total: 10 },
      { done: 1, total: 0 },
    ];
    expect(some.map(progressText)).toEqual(["3 of 10", "3", "12 of 10", "1 of 0"]);
    expect(some.map(progressShare)).toEqual([0.3, null, 1, null]);
  });

  it("writes counts, rates, shares and times", () => {
    expect([7, 1234, 12_345, 4_900_000].map(count)).toEqual(["7", "1,234", "12.3k", "4.9M"]);
    expect([0, 0.42, 12.34, 4912].map(rate)).toEqual(["0", "0.42", "12.3", "4,912"]);
    expect([null, 0, 0.008, 0.2].map(percent)).toEqual(["–", "0 %", "0.8 %", "20 %"]);
    expect(ago(1000, 63_000)).toBe("1 min ago");
    expect([4, 22, 170].map(approximately)).toEqual(["<10 s", "~25 s", "~3 min"]);
  });

  it("names a job by the end of its id, or by its type when the id is random", () => {
    expect(shortJob("6ba5:search:42", "6ba5")).toBe("search:42");
    expect(shortJob("other", "6ba5")).toBe("other");
    expect(jobName("6ba5:search:42", "6ba5", "fetch")).toBe("search:42");
    expect(jobName("1155c92270a2f94e", null, "shop.tasks.send_mail")).toBe("send mail");
    expect(jobName("f0e1d2c3-1155-4922-8a2f-94e000000001", null, "chat m-1.5")).toBe("chat m-1.5");
    expect(jobName("1155c92270a2f94e", null, null)).toBe("1155c92270a2f94e");
  });
});

describe("names and reasons", () => {
  it("names a task by its title, else its type, else its id", () => {
    const task = { k: "6ba529d4f0e1d2c3", title: null, type: null };
    expect(taskName({ ...task, title: "Schools", type: "data_aggregation" })).toBe("Schools");
    expect(taskName({ ...task, type: "data_aggregation" })).toBe("data aggregation");
    expect(taskName({ ...task, title: "send_mail", type: "send_mail" })).toBe("send mail");
    expect(taskName(task)).toBe("6ba529d4");
  });
  it("shows so much of an id that it differs from the next one", () => {
    expect(shortId("search-0057")).toBe("search-0057");
    expect(shortId("1155c92270a2f94e")).toBe("1155c922");
    expect(shortId("collect-the-schools-of-Tbilisi-0057")).toBe("collect-the-…bilisi-0057");
  });
  it("says a known reason in words, and any other as it came", () => {
    expect(reasonText("worker_lost")).toBe("its worker is lost");
    expect(reasonText("out_of_quota")).toBe("out of quota");
  });
});

describe("queueLabel", () => {
  it("is the priority of a queue of the coordinator, whatever its key prefix", () => {
    expect(queueLabel("nexus:tasks:high_priority")).toBe("high");
    expect(queueLabel("shop:eu:tasks:low_priority")).toBe("low");
    expect(queueLabel("nexus:tasks:mail")).toBe("mail");
  });
  it("is the whole name of any other queue", () => {
    expect(queueLabel("shop:tasks:mail")).toBe("shop:tasks:mail");
    expect(queueLabel("celery")).toBe("celery");
  });
});
