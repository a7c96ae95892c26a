/** For narrow pages: navigation between sections instead of panels side by side, and a drawer. */
import { type ReactNode, useEffect, useRef } from "react";
import { type Filters, failuresParams } from "../lib/filters";
import { count } from "../lib/format";
import { FIRST_ROWS } from "../lib/ListNote";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useView } from "../views/useView";

export type Section = "tasks" | "events" | "failures";

interface SectionNavProps {
  feed: MonitoringFeed;
  filters: Filters;
  section: Section;
  onSection: (section: Section) => void;
}

/** Buttons for the sections of a narrow page, which shows one at a time. */
export function SectionNav({ feed, filters, section, onSection }: SectionNavProps) {
  const { head } = useView(feed, "failures", { ...failuresParams(filters), count: FIRST_ROWS });
  const failures = head?.total ?? 0;
  const names: readonly (readonly [Section, string])[] = [
    ["tasks", "Tasks"],
    ["events", "Events"],
    ["failures", failures > 0 ? `Failures ${count(failures)}` : "Failures, workers"],
  ];
  return (
    <nav className="sections" aria-label="Sections">
      {names.map(([name, label]) => (
        <button
          key={name}
          type="button"
          aria-current={section === name}
          onClick={() => onSection(name)}
        >
          {label}
        </button>
      ))}
    </nav>
  );
}

/** The section named in the URL; `tasks` for any other text. */
export function readSection(text: string): Section {
  return text === "events" || text === "failures" ? text : "tasks";
}

/** A panel over the lower part of the page; it takes the focus and returns it when it closes. */
export function Drawer({ label, children }: { label: string; children: ReactNode }) {
  const root = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const previousFocus = document.activeElement;
    root.current?.focus();
    return () => {
      if (previousFocus instanceof HTMLElement) previousFocus.focus();
    };
  }, []);
  return (
    <div
      className="drawer"
      role="dialog"
      aria-label={label}
      aria-modal="false"
      tabIndex={-1}
      ref={root}
    >
      {children}
    </div>
  );
}
