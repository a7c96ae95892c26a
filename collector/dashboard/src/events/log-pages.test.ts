import { describe, expect, it } from "vitest";
import { eventsParams, isFiltered, logQuery } from "./log-pages";

describe("filters of events", () => {
  it("are the same for the view and for the log, in the words of each", () => {
    const filters = { project: "p", task: "t", job: "", status: "failed", text: "a&b" };
    expect(eventsParams(filters)).toEqual({
      project: "p",
      task: "t",
      status: ["failed"],
      text: "a&b",
    });
    expect(logQuery(filters, { before: "e:1" }, 200).toString()).toBe(
      "limit=200&before=e%3A1&project_id=p&task_id=t&status=failed&text=a%26b&all=false",
    );
  });

  it("leave heartbeats out unless they are asked for", () => {
    expect(eventsParams({ isAll: true })).toEqual({ all: true });
    expect(logQuery({ isAll: true }, { upto: "e:1" }, 1).toString()).toBe("limit=1&upto=e%3A1");
    expect(logQuery({ isAll: true }, { before: "" }, 200).toString()).toBe("limit=200");
    expect(isFiltered({ project: "p", isAll: true })).toBe(false);
  });
});
