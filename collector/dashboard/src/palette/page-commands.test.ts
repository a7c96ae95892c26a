import { describe, expect, it } from "vitest";
import { EMPTY_VIEW, type ViewState } from "../lib/url-state";
import type { Part } from "../page/attention";
import { pageCommands } from "./page-commands";

const nothing = () => undefined;

function commandsOf(part: Partial<ViewState>, troubles: readonly Part[] = []) {
  const changes: Partial<ViewState>[] = [];
  const note = (to: Partial<ViewState>) => void changes.push(to);
  const view = { ...EMPTY_VIEW, ...part };
  const other = { onTheme: nothing, onCopy: nothing, onHelp: nothing };
  const commands = pageCommands(troubles, { view, change: note, onGo: note, ...other });
  return { labels: commands.map(({ label }) => label), commands, changes };
}

describe("the page's commands", () => {
  it("offers only what would change something", () => {
    const { labels } = commandsOf({ paused: "1", fold: "1", group: "status", status: "failed" });
    expect(labels).toEqual(expect.arrayContaining(["Resume the page", "Show the events"]));
    expect(labels).toContain("Clear all filters");
    for (const label of ["Pause the page", "Fold the events away", "Group tasks by status"])
      expect(labels).not.toContain(label);
    expect(commandsOf({}).labels).not.toContain("Clear all filters");
  });

  it("puts trouble first, which leads to its details", () => {
    const trouble: Part = {
      kind: "worker_lost",
      status: "failed",
      text: "worker w-1 lost",
      to: { worker: "w-1 ab" },
    };
    const { commands, changes } = commandsOf({}, [trouble]);
    expect(commands[0]).toMatchObject({ label: "worker w-1 lost", kind: "needs attention" });
    commands[0]?.run();
    expect(changes).toEqual([{ worker: "w-1 ab" }]);
  });

  it("names each command once", () => {
    const { commands } = commandsOf({ project: "p", all: "1", wall: "1" });
    expect(new Set(commands.map(({ id }) => id)).size).toBe(commands.length);
  });
});
