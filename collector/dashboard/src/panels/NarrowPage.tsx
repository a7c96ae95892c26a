/** For narrow pages: navigation between sections instead of panels side by side, and a drawer. */
import { type ReactNode, useEffect, useRef } from "react";
import { count } from "../lib/format";

export type Section = "tasks" | "events" | "failures";

interface SectionNavProps {
  section: Section;
  onSection: (section: Section) => void;
  failures: number;
}

/** Buttons for the sections of a narrow page, which shows one at a time. */
export function SectionNav({ section, onSection, failures }: SectionNavProps) {
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
