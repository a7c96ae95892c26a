/** The whole page: all panels around one feed. */
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { DetailsPanel } from "./details/DetailsPanel";
import { FilterBar } from "./events/FilterBar";
import { RecentEventsTable } from "./events/RecentEventsTable";
import { traceUrl, useTraceTemplate } from "./feed/trace-links";
import { useSession } from "./feed/use-session";
import { useCopy, useMedia, useTheme } from "./lib/browser";
import { timeOfDay } from "./lib/format";
import { sendToPanels, useKeyboardShortcuts } from "./lib/keyboard";
import { hasDetails, linkTo, runOf, useViewState, type ViewState } from "./lib/url-state";
import { Announcer } from "./panels/Announcer";
import { EmptyState, WaitingState } from "./panels/EmptyState";
import { GlobalStatsBar } from "./panels/GlobalStatsBar";
import { HelpDialog } from "./panels/HelpDialog";
import { InProgressTasks } from "./panels/InProgressTasks";
import { Drawer, readSection, SectionNav } from "./panels/NarrowPage";
import { SidePanel, type SideTab } from "./panels/SidePanel";
import { isSignInRequired, SignIn } from "./panels/SignIn";
import { TopBar } from "./panels/TopBar";
import { type MonitoringFeed, useConnection, useMonitoringFeed } from "./views/useMonitoringFeed";
import { useShownTask } from "./views/useShownTask";
import { useView } from "./views/useView";
import type { Connection } from "./views/view-socket";
import type { OverviewHead } from "./views/view-types";
import { Waterfall } from "./waterfall/Waterfall";

export interface MonitoringDashboardProps {
  /** Base URL of the collector; default: the URL of the page. */
  baseUrl?: string;
}

/** The whole page; connects to the collector while it is mounted. */
export function MonitoringDashboard({ baseUrl }: MonitoringDashboardProps) {
  const [view, change] = useViewState();
  const feed = useMonitoringFeed({ baseUrl, projectId: view.project || null });
  const connection = useConnection(feed);
  const { head: overview } = useView(feed, "overview", {});
  const [theme, nextTheme] = useTheme();
  const [, copy] = useCopy();
  const isNarrow = useMedia("(max-width: 999px)");
  const [isDrawerOpen, setDrawerOpen] = useState(false);
  const searchRef = useRef<HTMLInputElement>(null);
  const helpRef = useRef<HTMLDialogElement>(null);
  // Once: the numbers of another project are not there yet when it is chosen.
  const [isLoaded, setLoaded] = useState(false);
  if (overview !== null && !isLoaded) setLoaded(true);
  const [traceTemplate, setTraceTemplate] = useTraceTemplate(baseUrl, isLoaded);
  const [isSignedIn, signOut] = useSession(baseUrl, isLoaded);
  const mustSignIn = isSignInRequired(connection);

  const { project, task, type, status, text } = view;
  const filters = useMemo(
    () => ({ project, task, type, status, text }),
    [project, task, type, status, text],
  );
  const isAll = view.all === "1";
  const eventFilters = useMemo(() => ({ ...filters, isAll }), [filters, isAll]);
  const rowFilter = useMemo(() => ({ status, type, text }), [status, type, text]);
  const shownTask = useShownTask(feed, view.task);
  const [request, setRequest] = useState(0);
  const isDetailed = hasDetails(view);
  const [isDetailsFocused, setDetailsFocused] = useState(false);
  const onFocus = useCallback(
    (taskId: string, jobId: string | null = null) => {
      change({ task: taskId, ...(jobId === null ? {} : { job: jobId, open: "1" }) });
      setDetailsFocused(true);
      setRequest((n) => n + 1);
      setDrawerOpen(true);
    },
    [change],
  );

  // A link names the shown task even if the user did not choose it, so that it shows the same.
  const linkedView = useRef(view);
  linkedView.current = { ...view, task: shownTask ?? "" };
  const link = useCallback(() => linkTo(linkedView.current), []);
  // Row, zoom and folds belong to the shown task, so choosing them also keeps that task.
  const changeShown = useCallback(
    (part: Partial<ViewState>) => change({ task: linkedView.current.task, ...part }),
    [change],
  );
  // Details that are open go on to the next row; without a row there are none.
  const onNode = useCallback(
    (node: string) =>
      changeShown({ node, open: node && hasDetails(linkedView.current) ? "1" : "" }),
    [changeShown],
  );
  const onOpen = useCallback(
    (node: string, isFocused: boolean) => {
      setDetailsFocused(isFocused);
      changeShown({ node, open: "1" });
    },
    [changeShown],
  );
  const onRow = useCallback(
    (task: string, node: string) => change({ task, node, open: "1" }),
    [change],
  );
  const onCloseDetails = useCallback(
    () =>
      change({
        ...{ open: "", worker: "", queue: "", failure: "" },
        ...(linkedView.current.job ? { job: "" } : {}),
      }),
    [change],
  );
  const onWorker = useCallback(
    (worker: string) => {
      change({ worker });
      setDetailsFocused(true);
    },
    [change],
  );
  const onQueue = useCallback(
    (queue: string) => {
      change({ queue });
      setDetailsFocused(true);
    },
    [change],
  );
  const onFailure = useCallback(
    (failure: string) => {
      change({ failure });
      setDetailsFocused(true);
    },
    [change],
  );
  const onNextFailure = useCallback(
    (step: 1 | -1) => sendToPanels("ob:chart", step === 1 ? "n" : "N"),
    [],
  );
  const onZoom = useCallback((zoom: string) => changeShown({ zoom }), [changeShown]);
  const onFolds = useCallback((folds: string) => changeShown({ folds }), [changeShown]);
  const onLayout = useCallback((layout: string) => change({ layout }), [change]);
  const onGroup = useCallback((group: string) => change({ group }), [change]);
  const onPins = useCallback((pins: string) => change({ pins }), [change]);
  const onChoose = useCallback((event: string) => change({ event }), [change]);
  const onAll = useCallback((all: boolean) => change({ all: all ? "1" : "" }), [change]);
  const onResume = useCallback(() => change({ paused: "" }), [change]);
  const onTab = useCallback(
    (tab: SideTab) => change({ tab: tab === "failures" ? "" : tab }),
    [change],
  );
  const onClose = useCallback(() => setDrawerOpen(false), []);

  const isPaused = view.paused === "1";
  useEffect(() => {
    // What is paused is what was shown, so not before something is.
    feed.hold(isPaused && isLoaded);
  }, [feed, isPaused, isLoaded]);
  const togglePause = useCallback(
    () => change({ paused: isPaused ? "" : "1" }),
    [change, isPaused],
  );

  const onEscape = () => {
    if (isDetailed) {
      onCloseDetails();
      return;
    }
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
    p: () => sendToPanels("ob:pin", null),
    ...Object.fromEntries(
      ["e", "w", "a", "d", "+", "-", "0", "n", "N"].map((key) => [
        key,
        () => sendToPanels("ob:chart", key),
      ]),
    ),
    Escape: onEscape,
  });

  const title = titleOf(overview);
  useEffect(() => {
    document.title = title;
  }, [title]);

  const traceLink = useCallback(
    (traceId: string | undefined) => traceUrl(traceTemplate, traceId),
    [traceTemplate],
  );
  const origin =
    typeof window === "undefined" ? "" : new URL(baseUrl ?? ".", document.baseURI).origin;
  const isBlank = overview !== null && sum(overview.tasks) === 0 && !view.project && !view.task;
  const isWaiting = mustSignIn || !isLoaded;
  const isLost = isLoaded && !isWaiting && isLostConnection(connection);
  const section = isWaiting ? "tasks" : readSection(view.section);
  const classes = ["ob", isPaused && "is-paused", isLost && "is-lost", isDetailed && "has-details"]
    .filter(Boolean)
    .join(" ");

  const waterfall = (
    <Waterfall
      feed={feed}
      task={shownTask}
      filter={rowFilter}
      node={view.node}
      onNode={onNode}
      onOpen={onOpen}
      isDetailed={isDetailed}
      job={view.job}
      request={request}
      zoom={view.zoom}
      onZoom={onZoom}
      folds={view.folds}
      onFolds={onFolds}
      traceLink={traceLink}
      onClose={isNarrow ? onClose : undefined}
    />
  );
  return (
    <div className={classes} data-section={section}>
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
          feed={feed}
          filters={filters}
          section={section}
          onSection={(name) => change({ section: name === "tasks" ? "" : name })}
        />
      )}
      <Announcer feed={feed} />
      {isLost && <AsOf feed={feed} />}
      <main className={isBlank || isWaiting ? "grid is-blank" : "grid"}>
        {mustSignIn ? (
          <SignIn baseUrl={baseUrl} onDone={feed.retryNow} />
        ) : !isLoaded ? (
          <WaitingState connection={connection} origin={origin} />
        ) : isBlank ? (
          <EmptyState baseUrl={baseUrl} />
        ) : (
          <>
            <InProgressTasks
              feed={feed}
              filters={filters}
              focus={shownTask}
              onFocus={onFocus}
              layout={view.layout}
              onLayout={onLayout}
              group={view.group}
              onGroup={onGroup}
              pins={view.pins}
              onPins={onPins}
            />
            {!isNarrow && waterfall}
          </>
        )}
        <RecentEventsTable
          feed={feed}
          filters={eventFilters}
          chosen={view.event}
          onChoose={onChoose}
          onAll={onAll}
          onResume={onResume}
          onFocus={onFocus}
          traceLink={traceLink}
        />
        <SidePanel
          feed={feed}
          filters={filters}
          tab={view.tab === "workers" ? "workers" : "failures"}
          onTab={onTab}
          onFocus={onFocus}
          onWorker={onWorker}
          onQueue={onQueue}
          onFailure={onFailure}
        />
      </main>
      {isNarrow && isDrawerOpen && <Drawer label="Waterfall">{waterfall}</Drawer>}
      {isDetailed && !isWaiting && (
        <DetailsPanel
          feed={feed}
          task={shownTask}
          node={view.node}
          job={view.job}
          worker={view.worker}
          queue={view.queue}
          failure={view.failure}
          run={runOf(view)}
          isFocused={isDetailsFocused || isNarrow}
          link={link}
          traceLink={traceLink}
          onFocus={onFocus}
          onWorker={onWorker}
          onQueue={onQueue}
          onFailure={onFailure}
          onNode={onNode}
          onRow={onRow}
          onNextFailure={isNarrow && !isDrawerOpen ? null : onNextFailure}
          onClose={onCloseDetails}
        />
      )}
      <HelpDialog
        dialog={helpRef}
        traceTemplate={traceTemplate ?? ""}
        onTraceTemplate={setTraceTemplate}
      />
    </div>
  );
}

/** Says how old everything is that the page shows while nothing is heard from the collector. */
function AsOf({ feed }: { feed: MonitoringFeed }) {
  return (
    <aside className="as-of num" aria-label="Age of what is shown" data-testid="as-of">
      as of {timeOfDay(feed.now())}
    </aside>
  );
}

function isLostConnection({ kind }: Connection): boolean {
  return kind === "stale" || kind === "reconnecting" || kind === "refused";
}

function sum(tasks: OverviewHead["tasks"]): number {
  return Object.values(tasks).reduce((total, tasksOfStatus) => total + tasksOfStatus, 0);
}

/** The title of the browser's tab: `3 running, 1 stalled · otel-bridge`. */
function titleOf(overview: OverviewHead | null): string {
  const { processing = 0, retrying = 0, stalled = 0 } = overview?.tasks ?? {};
  const running = processing + retrying;
  const parts = [running > 0 && `${running} running`, stalled > 0 && `${stalled} stalled`];
  const counts = parts.filter(Boolean).join(", ");
  return counts ? `${counts} · otel-bridge` : "otel-bridge";
}
