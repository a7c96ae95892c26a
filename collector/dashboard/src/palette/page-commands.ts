/** What the command palette offers beside places: the signs of trouble and the page's own actions. */
import { isFiltering } from "../lib/filters";
import { sendToPanels } from "../lib/keyboard";
import type { ChangeView, ViewState } from "../lib/url-state";
import type { Part } from "../page/attention";
import type { Command } from "./Palette";

export interface Page {
  view: ViewState;
  change: ChangeView;
  onGo: (to: Partial<ViewState>) => void;
  onTheme: () => void;
  onCopy: () => void;
  onHelp: () => void;
}

export const NO_FILTER = {
  project: "",
  task: "",
  type: "",
  status: "",
  text: "",
  all: "",
} as const;

/** Trouble first, then the actions; an action that would change nothing is left out. */
export function pageCommands(troubles: readonly Part[], page: Page): readonly Command[] {
  const { view, change, onGo } = page;
  const act = (label: string, run: () => void, kind = ""): Command => ({
    id: label,
    label,
    kind,
    run,
  });
  const set = (label: string, part: Partial<ViewState>, key?: string): Command | false =>
    Object.entries(part).some(([name, value]) => view[name as keyof ViewState] !== value) &&
    act(label, () => change(part), key);
  const chart = (key: string) => () => sendToPanels("ob:chart", key);
  const isFiltered = isFiltering(view) || Boolean(view.project || view.all);
  const actions = [
    set("Resume the page", { paused: "" }, "space"),
    set("Pause the page", { paused: "1" }, "space"),
    isFiltered && set("Clear all filters", NO_FILTER),
    set("Group tasks by project", { group: "project" }),
    set("Group tasks by status", { group: "status" }),
    set("Do not group tasks", { group: "" }),
    set("Draw tasks as cards", { layout: "cards" }),
    set("Draw tasks as rows", { layout: "rows" }),
    set("Draw tasks as suits their number", { layout: "" }),
    set("Show only failed work", { status: "failed" }),
    set("Show only stalled work", { status: "stalled" }),
    set("Show the failures", { tab: "", section: "failures" }),
    set("Show the workers and queues", { tab: "workers", section: "failures" }),
    set("Show the events", { fold: "" }, "f"),
    set("Fold the events away", { fold: "1" }, "f"),
    set("Show heartbeats and statistics", { all: "1" }),
    set("Hide heartbeats and statistics", { all: "" }),
    set("Wall mode: for a screen on a wall", { wall: "1" }, "W"),
    set("Leave the wall mode", { wall: "" }, "W"),
    act("Next failure", chart("n"), "n"),
    act("Previous failure", chart("N"), "N"),
    act("Switch the theme: system, light, dark", page.onTheme, "t"),
    act("Copy a link to this view", page.onCopy, "c"),
    act("Keys and meanings", page.onHelp, "?"),
  ];
  return [
    ...troubles.map(({ kind, text, to }) => ({
      ...act(text, () => onGo(to), "needs attention"),
      id: kind + JSON.stringify(to),
    })),
    ...actions.filter((action) => action !== false),
  ];
}
