import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { backfill, needsBackfill } from "./backfill";
import { recall, remember, type Theme, useCopy, useMedia, useTheme } from "./browser";
import { EndAnnouncer } from "./Announcer";
import { ConnectionBadge } from "./ConnectionBadge";
import { EmptyState, WaitingState } from "./EmptyState";
import type { EventWish } from "./event-view";
import { FailuresPanel } from "./FailuresPanel";
import { FilterBar } from "./FilterBar";
import { count, taskName } from "./format";
import type { FeedStore } from "./feed-store";
import { GlobalStatsBar } from "./GlobalStatsBar";
import { HelpDialog } from "./HelpDialog";
import { InProgressTasks } from "./InProgressTasks";
import { MoonIcon, PauseIcon, PlayIcon, SunIcon, SystemIcon } from "./icons";
import { RecentEventsTable } from "./RecentEventsTable";
import { isSignInWanted, SignIn } from "./SignIn";
import { readConfig, readSession, signOut } from "./session";
import { useViewState } from "./url-state";
import { useMonitoringFeed, useSlice } from "./useMonitoringFeed";
import type { CardView, FailureView } from "./views";
import { type JobMark, Waterfall } from "./Waterfall";
import { WorkersPanel } from "./WorkersPanel";

const TRACE_KEY = "otel-bridge-trace-url";

export interface MonitoringDashboardProps {
  /** Where the collector is; default: where the page came from. */
  baseUrl?: string;
}

/** The whole page. */
export function MonitoringDashboard({ baseUrl }: MonitoringDashboardProps) {
  const [view, change] = useViewState();
  const feed = useMonitoringFeed({ baseUrl, projectId: view.project || null });
  const { store } = feed;
  const tasks = useSlice(store, "tasks");
  const failures = useSlice(store, "failures");
  const workers = useSlice(store, "workers");
  const connection = useSlice(store, "connection");
  const hold = useSlice(store, "hold");
  const [theme, nextTheme] = useTheme();
  const [, copy] = useCopy();
  const isNarrow = useMedia("(max-width: 999px)");
  const [isDrawerOpen, setDrawerOpen] = useState(false);
  const [section, setSection] = useState<Section>("tasks");
  const [mark, setMark] = useState<JobMark | null>(null);
  const searchRef = useRef<HTMLInputElement>(null);
  const helpRef = useRef<HTMLDialogElement>(null);
  const [traceTemplate, setTraceTemplate] = useTraceTemplate(baseUrl, tasks.isLoaded);
  const [isSignedIn, leave] = useSession(baseUrl, tasks.isLoaded);
  const mustSignIn = isSignInWanted(connection);

  const wish = useMemo<EventWish>(
    () => ({
      task: view.task,
      type: view.type,
      status: view.status,
      text: view.text,
      isAll: view.all === "1",
    }),
    [view.task, view.type, view.status, view.text, view.all],
  );
  const cards = useMemo(() => tasks.cards.filter((card) => isCardWanted(card, wish)), [tasks, wish]);
  const titles = useMemo(
    () => new Map(tasks.cards.flatMap((c) => (c.title ?? c.taskType) === null ? [] : [[c.taskId, taskName(c)]])),
    [tasks],
  );
  const shownFailures = useMemo(
    () => failures.filter((failure) => isFailureWanted(failure, wish)),
    [failures, wish],
  );

  const focus = useFocus(tasks.cards, view.focus || view.task);
  useEffect(() => store.setFocus(focus), [store, focus]);
  useBackfill(store, focus, baseUrl, tasks.isLoaded);
  const focusCard = tasks.cards.find((card) => card.taskId === focus) ?? null;
  const onFocus = useCallback(
    (taskId: string, jobId: string | null = null) => {
      change({ focus: taskId });
      setMark((old) => ({ taskId, jobId, n: (old?.n ?? 0) + 1 }));
      setDrawerOpen(true);
    },
    [change],
  );

  const isPaused = view.paused === "1";
  useEffect(() => {
    if (isPaused && tasks.isLoaded) store.pause();
    if (!isPaused) store.resume();
  }, [store, isPaused, tasks.isLoaded]);
  const togglePause = useCallback(() => change({ paused: isPaused ? "" : "1" }), [change, isPaused]);

  useKeys({
    "/": () => searchRef.current?.focus(),
    " ": togglePause,
    "?": () => helpRef.current?.showModal(),
    t: nextTheme,
    c: () => copy(window.location.href),
    j: () => tell("ob:step", 1),
    k: () => tell("ob:step", -1),
    ...Object.fromEntries(["e", "w", "a", "d", "+", "-", "0"].map((k) => [k, () => tell("ob:chart", k)])),
    Escape: () => {
      setDrawerOpen(false);
      tell("ob:escape", null);
      if (document.activeElement === searchRef.current) {
        if (searchRef.current?.value) change({ text: "" });
        else searchRef.current?.blur();
      }
    },
  });

  const open = tasks.cards.filter((card) => card.endedAt === null).length;
  useEffect(() => {
    document.title = open > 0 ? `${open} running · otel-bridge` : "otel-bridge";
  }, [open]);

  const traceLink = useCallback(
    (traceId: string | undefined) =>
      // The collector checks the form already; a link is built from nothing else of an event.
      traceTemplate && traceId && /^[0-9a-f]{32}$/.test(traceId)
        ? traceTemplate.replaceAll("{trace_id}", traceId)
        : null,
    [traceTemplate],
  );
  const origin = typeof window === "undefined" ? "" : new URL(baseUrl ?? ".", document.baseURI).origin;
  const isFiltered = Boolean(wish.task || wish.type || wish.status || wish.text);
  const tab = view.tab === "workers" ? "workers" : "failures";
  const isBlank = tasks.isLoaded && tasks.cards.length === 0 && !view.project;

  const waterfall = (
    <Waterfall
      store={store}
      card={focusCard}
      wish={wish}
      mark={mark}
      traceLink={traceLink}
      onClose={isNarrow ? () => setDrawerOpen(false) : undefined}
    />
  );
  return (
    <div className={`ob${isPaused ? " is-paused" : ""}`} data-section={section}>
      <header className="top">
        <h1 className="brand">
          <Mark /> otel-bridge
        </h1>
        <ConnectionBadge feed={feed} />
        <span className="top-end">
          <button
            type="button"
            className={`button${isPaused ? " is-on" : ""}`}
            aria-pressed={isPaused}
            onClick={togglePause}
            title="Hold everything still (space)"
          >
            {isPaused ? <PlayIcon /> : <PauseIcon />}
            <span className="pause-label">{isPaused ? "Resume" : "Pause"}</span>
            {isPaused && hold.newEvents > 0 && (
              <span className="num"> · {count(hold.newEvents)} new</span>
            )}
          </button>
          {isSignedIn && !mustSignIn && (
            <button type="button" className="button quiet" onClick={leave}>
              Sign out
            </button>
          )}
          <ThemeButton theme={theme} onClick={nextTheme} />
          <button
            type="button"
            className="icon-button"
            aria-label="Help"
            title="Keys and meanings (?)"
            onClick={() => helpRef.current?.showModal()}
          >
            <b aria-hidden="true">?</b>
          </button>
        </span>
      </header>
      <GlobalStatsBar feed={feed} />
      <FilterBar feed={feed} view={view} change={change} searchRef={searchRef} />
      {isNarrow && <SectionNav section={section} onSection={setSection} failures={shownFailures.length} />}
      <EndAnnouncer cards={tasks.cards} />
      <main className={isBlank || mustSignIn || !tasks.isLoaded ? "grid is-blank" : "grid"}>
        {mustSignIn ? (
          <SignIn baseUrl={baseUrl} onDone={feed.retryNow} />
        ) : !tasks.isLoaded ? (
          <WaitingState connection={connection} origin={origin} />
        ) : isBlank ? (
          <EmptyState origin={origin} />
        ) : (
          <>
            <section className="panel tasks" aria-label="Research tasks">
              <header className="panel-head">
                <h2>Research tasks</h2>
                <span className="muted num">
                  {open > 0 ? `${count(open)} running · ` : ""}
                  {count(cards.length)}
                </span>
              </header>
              {cards.length > 0 ? (
                <InProgressTasks store={store} cards={cards} focus={focus} onFocus={onFocus} />
              ) : (
                <p className="none">{isFiltered ? "No tasks match." : "No tasks yet."}</p>
              )}
            </section>
            {!isNarrow && waterfall}
          </>
        )}
        <RecentEventsTable
          feed={feed}
          wish={wish}
          titles={titles}
          hasProjects={tasks.projects.length > 1 && !view.project}
          onAll={(isAll) => change({ all: isAll ? "1" : "" })}
          onResume={() => change({ paused: "" })}
          onFocus={onFocus}
          traceLink={traceLink}
        />
        <section className="panel side" aria-label={tab === "workers" ? "Workers" : "Failures"}>
          <div className="panel-head tabs" role="tablist">
            {(["failures", "workers"] as const).map((name) => (
              <button
                key={name}
                type="button"
                role="tab"
                id={`tab-${name}`}
                aria-selected={tab === name}
                aria-controls="tab-panel"
                onClick={() => change({ tab: name === "failures" ? "" : name })}
              >
                {name === "failures" ? "Failures" : "Workers"}
                <span className="muted num">
                  {count(
                    name === "failures"
                      ? shownFailures.reduce((sum, failure) => sum + failure.count, 0)
                      : workers.filter((worker) => worker.status === "online").length,
                  )}
                </span>
              </button>
            ))}
          </div>
          <div className="side-body" role="tabpanel" id="tab-panel" aria-labelledby={`tab-${tab}`}>
            {tab === "failures" ? (
              <FailuresPanel
                store={store}
                failures={shownFailures}
                titles={titles}
                isFiltered={isFiltered && failures.length > 0}
                onFocus={onFocus}
              />
            ) : (
              <WorkersPanel store={store} workers={workers} onFocus={onFocus} />
            )}
          </div>
        </section>
      </main>
      {isNarrow && isDrawerOpen && (
        <div className="drawer" role="dialog" aria-label="Waterfall" aria-modal="false">
          {waterfall}
        </div>
      )}
      <HelpDialog
        dialog={helpRef}
        traceTemplate={traceTemplate ?? ""}
        onTraceTemplate={setTraceTemplate}
      />
    </div>
  );
}

type Section = "tasks" | "events" | "failures";

interface SectionNavProps {
  section: Section;
  onSection: (section: Section) => void;
  failures: number;
}

/** On a narrow page: one section at a time. */
function SectionNav({ section, onSection, failures }: SectionNavProps) {
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

function ThemeButton({ theme, onClick }: { theme: Theme; onClick: () => void }) {
  const icons = { system: <SystemIcon />, light: <SunIcon />, dark: <MoonIcon /> };
  return (
    <button
      type="button"
      className="icon-button"
      aria-label={`Theme: ${theme}`}
      title={`Theme: ${theme} (t)`}
      onClick={onClick}
    >
      {icons[theme]}
    </button>
  );
}

function Mark() {
  return (
    <svg viewBox="0 0 32 32" width="20" height="20" aria-hidden="true" className="mark">
      <rect width="32" height="32" rx="7" />
      <path d="M6 21.5h4.5M13.5 21.5H26M6 15h11M20 15h3M6 8.5h7" />
    </svg>
  );
}

/** Which task the waterfall shows: the one asked for, else one that runs; it stays until it ends. */
function useFocus(cards: readonly CardView[], asked: string): string | null {
  const current = useRef<string | null>(null);
  if (asked && cards.some((card) => card.taskId === asked)) return asked;
  const held = cards.find((card) => card.taskId === current.current);
  const running = cards.find((card) => card.endedAt === null);
  const next = held && (held.endedAt === null || !running) ? held : (running ?? held ?? cards[0]);
  current.current = next?.taskId ?? null;
  return current.current;
}

/** Fetch a large task's older bars once it is looked at. */
function useBackfill(
  store: FeedStore,
  focus: string | null,
  baseUrl: string | undefined,
  isLoaded: boolean,
): void {
  useEffect(() => {
    if (focus === null || !isLoaded || !needsBackfill(store.get("spans").spans.length)) return;
    const abort = new AbortController();
    backfill(store, focus, baseUrl ?? document.baseURI, abort.signal).catch(() => {
      // The bars stay as few as they are; the connection badge says what is wrong.
    });
    return () => abort.abort();
  }, [store, focus, baseUrl, isLoaded]);
}

export function isCardWanted(card: CardView, wish: EventWish): boolean {
  if (wish.task && card.taskId !== wish.task) return false;
  if (wish.status && card.status !== wish.status) return false;
  if (wish.type && card.taskType !== wish.type) {
    if (!card.phases.some((phase) => phase.name === wish.type)) return false;
  }
  if (!wish.text) return true;
  const needle = wish.text.toLowerCase();
  const texts = [card.title, card.taskId, card.taskType, card.domain, card.projectId, card.error];
  return texts.some((text) => text?.toLowerCase().includes(needle) === true);
}

export function isFailureWanted(failure: FailureView, wish: EventWish): boolean {
  if (wish.task && !failure.parentTaskIds.includes(wish.task)) return false;
  if (wish.type && failure.taskType !== wish.type && failure.phase !== wish.type) return false;
  if (wish.status && wish.status !== "failed") return false;
  if (!wish.text) return true;
  const needle = wish.text.toLowerCase();
  const texts = [failure.error, failure.taskType, failure.phase, failure.projectId, ...failure.taskIds];
  return texts.some((text) => text?.toLowerCase().includes(needle) === true);
}

/** Whether somebody is signed in who could sign out, and how. */
function useSession(baseUrl: string | undefined, isLoaded: boolean): [boolean, () => void] {
  const [isSignedIn, setSignedIn] = useState(false);
  useEffect(() => {
    if (!isLoaded) return;
    readSession(baseUrl).then(
      (kind) => setSignedIn(kind === "token"),
      () => setSignedIn(false),
    );
  }, [baseUrl, isLoaded]);
  const leave = useCallback(() => {
    // A new page: nothing of what was seen stays in memory.
    signOut(baseUrl).finally(() => window.location.reload());
  }, [baseUrl]);
  return [isSignedIn, leave];
}

/** Where traces are: as chosen in this browser, else as the collector says. */
function useTraceTemplate(
  baseUrl: string | undefined,
  isLoaded: boolean,
): [string | null, (template: string) => boolean] {
  const [template, setTemplate] = useState<string | null>(null);
  useEffect(() => {
    const stored = recall(TRACE_KEY);
    if (stored && isTraceTemplate(stored)) {
      setTemplate(stored);
      return;
    }
    if (!isLoaded) return;
    readConfig(baseUrl).then(
      ({ trace_url_template: told }) => {
        if (told && isTraceTemplate(told)) setTemplate((old) => old ?? told);
      },
      () => {
        // An older collector; links are left out until somebody names a template.
      },
    );
  }, [baseUrl, isLoaded]);
  const choose = useCallback((text: string) => {
    if (text !== "" && !isTraceTemplate(text)) return false;
    remember(TRACE_KEY, text || null);
    setTemplate(text || null);
    return true;
  }, []);
  return [template, choose];
}

export function isTraceTemplate(text: string): boolean {
  if (!text.includes("{trace_id}")) return false;
  try {
    return ["http:", "https:"].includes(new URL(text.replaceAll("{trace_id}", "0")).protocol);
  } catch {
    return false;
  }
}

function tell(name: string, detail: unknown): void {
  window.dispatchEvent(new CustomEvent(name, { detail }));
}

/** Single keys, unless something is being typed. */
function useKeys(keys: Record<string, () => void>): void {
  const latest = useRef(keys);
  latest.current = keys;
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const target = event.target instanceof HTMLElement ? event.target : null;
      const isTyping = target?.matches("input:not([type=checkbox]), textarea, select") === true;
      if (isTyping && event.key !== "Escape") return;
      // Space presses a focused button; that is what it is for.
      if (event.key === " " && target?.closest("button, a, input, summary") != null) return;
      if (document.querySelector("dialog[open]") && event.key !== "?") return;
      const action = latest.current[event.key];
      if (!action) return;
      event.preventDefault();
      action();
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
}
