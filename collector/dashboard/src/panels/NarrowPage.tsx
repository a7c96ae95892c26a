/** What a narrow page has instead of panels side by side: one section at a time, and a drawer. */
import { type ReactNode, useEffect, useRef } from "react";
import { count } from "../lib/format";

export type Section = "tasks" | "events" | "failures";

interface SectionNavProps {
  section: Section;
  onSection: (section: Section) => void;
  failures: number;
}

/** One section at a time. */
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

export function readSection(text: string): Section {
  return text === "events" || text === "failures" ? text : "tasks";
}

/** Over the page from below; takes the focus, and gives it back when it closes. */
export function Drawer({ label, children }: { label: string; children: ReactNode }) {
  const root = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const before = document.activeElement;
    root.current?.focus();
    return () => {
      if (before instanceof HTMLElement) before.focus();
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
