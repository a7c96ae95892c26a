/** The whole page: all panels around one feed. */
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { FilterBar } from "./events/FilterBar";
import { RecentEventsTable } from "./events/RecentEventsTable";
import { traceUrl, useTraceTemplate } from "./feed/trace-links";
import { useSession } from "./feed/use-session";
import { useMonitoringFeed, useSlice } from "./feed/useMonitoringFeed";
import { useCopy, useMedia, useTheme } from "./lib/browser";
import { count, taskName } from "./lib/format";
import { sendToPanels, useKeyboardShortcuts } from "./lib/keyboard";
import { linkTo, useViewState } from "./lib/url-state";
import type { EventWish as EventFilter } from "./old/event-view";
import { useBackfill, useFocus } from "./old/focus";
import type { CardView } from "./old/views";
import { isCardWanted, isFailureWanted } from "./old/wanted";
import { Announcer } from "./panels/Announcer";
import { EmptyState, WaitingState } from "./panels/EmptyState";
import { GlobalStatsBar } from "./panels/GlobalStatsBar";
import { HelpDialog } from "./panels/HelpDialog";
import { InProgressTasks } from "./panels/InProgressTasks";
import { Drawer, readSection, SectionNav } from "./panels/NarrowPage";
import { SidePanel } from "./panels/SidePanel";
import { isSignInRequired, SignIn } from "./panels/SignIn";
import { TopBar } from "./panels/TopBar";
import { type JobMark, Waterfall } from "./waterfall/Waterfall";

export interface MonitoringDashboardProps {
  /** Base URL of the collector; default: the URL of the page. */
  baseUrl?: string;
}

/** The whole page; connects to the collector while it is mounted. */
export function MonitoringDashboard({ baseUrl }: MonitoringDashboardProps) {
  const [view, change] = useViewState();
  const feed = useMonitoringFeed({ baseUrl, projectId: view.project || null });
  const { store } = feed;
  const tasks = useSlice(store, "tasks");
  const failures = useSlice(store, "failures");
  const workers = useSlice(store, "workers");
  const connection = useSlice(store, "connection");
  const [theme, nextTheme] = useTheme();
  const [, copy] = useCopy();
  const isNarrow = useMedia("(max-width: 999px)");
  const [isDrawerOpen, setDrawerOpen] = useState(false);
  const [mark, setMark] = useState<JobMark | null>(null);
  const searchRef = useRef<HTMLInputElement>(null);
  const helpRef = useRef<HTMLDialogElement>(null);
  const [traceTemplate, setTraceTemplate] = useTraceTemplate(baseUrl, tasks.isLoaded);
  const [isSignedIn, signOut] = useSession(baseUrl, tasks.isLoaded);
  const mustSignIn = isSignInRequired(connection);

  const filter = useMemo<EventFilter>(
    () => ({
      task: view.task,
      type: view.type,
      status: view.status,
      text: view.text,
      isAll: view.all === "1",
    }),
    [view.task, view.type, view.status, view.text, view.all],
  );
  const cards = useMemo(
    () => tasks.cards.filter((card) => isCardWanted(card, filter)),
    [tasks, filter],
  );
  const titles = useTitles(tasks.cards);
  const shownFailures = useMemo(
    () => failures.filter((failure) => isFailureWanted(failure, filter)),
    [failures, filter],
  );

  const focus = useFocus(tasks.cards, view.focus || view.task);
  useEffect(() => store.setFocus(focus), [store, focus]);
  useBackfill(store, focus, baseUrl, tasks.isLoaded);
  const focusCard = tasks.cards.find((card) => card.taskId === focus) ?? null;
  const onFocus = useCallback(
    (taskId: string, jobId: string | null = null) => {
      change({ focus: taskId, zoom: "" });
      setMark((old) => ({ taskId, jobId, n: (old?.n ?? 0) + 1 }));
      setDrawerOpen(true);
    },
    [change],
  );

  // A link names the task in the waterfall even if the user did not choose it, so that it shows the
  // same.
  const shownView = useRef({ ...view, focus: "" });
  shownView.current = { ...view, focus: view.focus || (focus ?? "") };
  const link = useCallback(() => linkTo(shownView.current), []);

  const isPaused = view.paused === "1";
  useEffect(() => {
    if (isPaused && tasks.isLoaded) store.pause();
    if (!isPaused) store.resume();
  }, [store, isPaused, tasks.isLoaded]);
  const onResume = useCallback(() => change({ paused: "" }), [change]);
  const onAll = useCallback((isAll: boolean) => change({ all: isAll ? "1" : "" }), [change]);
  // Zoom and folded phases belong to the shown task, so choosing them also keeps that task in the
  // waterfall.
  const onZoom = useCallback(
    (zoom: string) => change({ focus: shownView.current.focus, zoom }),
    [change],
  );
  const onFolds = useCallback(
    (folds: string) => change({ focus: shownView.current.focus, folds }),
    [change],
  );
  const onTab = useCallback(
    (tab: string) => change({ tab: tab === "failures" ? "" : tab }),
    [change],
  );
  const onClose = useCallback(() => setDrawerOpen(false), []);
  const onChoose = useCallback((event: string) => change({ event }), [change]);
  const togglePause = useCallback(
    () => change({ paused: isPaused ? "" : "1" }),
    [change, isPaused],
  );

  const onEscape = () => {
    setDrawerOpen(false);
    sendToPanels("ob:escape", null);
    if (document.activeElement === searchRef.current) {
      if (searchRef.current?.value) change({ text: "" });
      else searchRef.current?.blur();
    }
  };
  useKeyboardShortcuts({
    "/": () => searchRef.current?.focus(),
    " ": togglePause,
    "?": () => helpRef.current?.showModal(),
    t: nextTheme,
    c: () => copy(link()),
    j: () => sendToPanels("ob:step", 1),
    k: () => sendToPanels("ob:step", -1),
    ...Object.fromEntries(
      ["e", "w", "a", "d", "+", "-", "0"].map((k) => [k, () => sendToPanels("ob:chart", k)]),
    ),
    Escape: onEscape,
  });

  const open = countOpen(tasks.cards);
  const shownOpen = countOpen(cards);
  useEffect(() => {
    document.title = open > 0 ? `${open} running · otel-bridge` : "otel-bridge";
  }, [open]);

  const traceLink = useCallback(
    (traceId: string | undefined) => traceUrl(traceTemplate, traceId),
    [traceTemplate],
  );
  const origin =
    typeof window === "undefined" ? "" : new URL(baseUrl ?? ".", document.baseURI).origin;
  const isFiltered = Boolean(filter.task || filter.type || filter.status || filter.text);
  const tab = view.tab === "workers" ? "workers" : "failures";
  const isBlank = tasks.isLoaded && tasks.cards.length === 0 && !view.project;
  const isWaiting = mustSignIn || !tasks.isLoaded;
  const section = isWaiting ? "tasks" : readSection(view.section);

  const waterfall = (
    <Waterfall
      store={store}
      card={focusCard}
      wish={filter}
      mark={mark}
      traceLink={traceLink}
      zoom={view.zoom}
      onZoom={onZoom}
      folds={view.folds}
      onFolds={onFolds}
      onClose={isNarrow ? onClose : undefined}
    />
  );
  return (
    <div className={`ob${isPaused ? " is-paused" : ""}`} data-section={section}>
      <TopBar
        feed={feed}
        isPaused={isPaused}
        onPause={togglePause}
        onSignOut={isSignedIn && !mustSignIn ? signOut : null}
        theme={theme}
        onTheme={nextTheme}
        helpRef={helpRef}
      />
      <GlobalStatsBar feed={feed} />
      <FilterBar feed={feed} view={view} change={change} link={link} searchRef={searchRef} />
      {isNarrow && !isWaiting && (
        <SectionNav
          section={section}
          onSection={(name) => change({ section: name === "tasks" ? "" : name })}
          failures={shownFailures.length}
        />
      )}
      <Announcer cards={tasks.cards} connection={connection} />
      <main className={isBlank || isWaiting ? "grid is-blank" : "grid"}>
        {mustSignIn ? (
          <SignIn baseUrl={baseUrl} onDone={feed.retryNow} />
        ) : !tasks.isLoaded ? (
          <WaitingState connection={connection} origin={origin} />
        ) : isBlank ? (
          <EmptyState baseUrl={baseUrl} />
        ) : (
          <>
            <section className="panel tasks" aria-label="Tasks">
              <header className="panel-head">
                <h2>Tasks</h2>
                <span className="muted num">
                  {shownOpen > 0 ? `${count(shownOpen)} running · ` : ""}
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
          wish={filter}
          titles={titles}
          chosen={view.event}
          onChoose={onChoose}
          onAll={onAll}
          onResume={onResume}
          onFocus={onFocus}
          traceLink={traceLink}
        />
        <SidePanel
          store={store}
          tab={tab}
          onTab={onTab}
          failures={shownFailures}
          isFiltered={isFiltered && failures.length > 0}
          workers={workers}
          titles={titles}
          onFocus={onFocus}
        />
      </main>
      {isNarrow && isDrawerOpen && <Drawer label="Waterfall">{waterfall}</Drawer>}
      <HelpDialog
        dialog={helpRef}
        traceTemplate={traceTemplate ?? ""}
        onTraceTemplate={setTraceTemplate}
      />
    </div>
  );
}

function countOpen(cards: readonly CardView[]): number {
  return cards.filter((card) => card.endedAt === null).length;
}

/** Titles of research tasks by id; the same map object as long as no title changes. */
function useTitles(cards: readonly CardView[]): ReadonlyMap<string, string> {
  const last = useRef<ReadonlyMap<string, string>>(new Map());
  return useMemo(() => {
    const named = cards.filter((card) => (card.title ?? card.taskType) !== null);
    const titles = new Map(named.map((card) => [card.taskId, taskName(card)]));
    const isSame =
      titles.size === last.current.size &&
      [...titles].every(([taskId, title]) => last.current.get(taskId) === title);
    if (!isSame) last.current = titles;
    return last.current;
  }, [cards]);
}
