/** The whole page: all panels around one feed. */
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { DetailsPanel } from "./details/DetailsPanel";
import { FilterBar } from "./events/FilterBar";
import { FoldedEvents } from "./events/FoldedEvents";
import { RecentEventsTable } from "./events/RecentEventsTable";
import { traceUrl, useTraceTemplate } from "./feed/trace-links";
import { useSession } from "./feed/use-session";
import { useCopy, useMedia, useTheme } from "./lib/browser";
import { timeOfDay } from "./lib/format";
import { sendToPanels, useKeyboardShortcuts } from "./lib/keyboard";
import { hasDetails, runOf, useViewState } from "./lib/url-state";
import { titleOf, troublesOf } from "./page/attention";
import { useNavigation } from "./page/navigation";
import { PagePalette } from "./page/PagePalette";
import { Splitters } from "./page/Splitters";
import { useTab } from "./page/use-tab";
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
import type { OverviewHead, PartialView } from "./views/view-types";
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
  const { head: overview, partial } = useView(feed, "overview", {});
  const [theme, nextTheme] = useTheme();
  const [, copy] = useCopy();
  const isNarrow = useMedia("(max-width: 999px)");
  const [isPaletteOpen, setPaletteOpen] = useState(false);
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
  const isDetailed = hasDetails(view) && view.wall !== "1";
  const navigation = useNavigation(view, change, shownTask);
  const { link, onFocus, onGo, onNode, onWorker, onCloseDetails, onCloseDrawer } = navigation;
  const onChoose = useCallback((event: string) => change({ event }), [change]);
  const onAll = useCallback((all: boolean) => change({ all: all ? "1" : "" }), [change]);
  const onResume = useCallback(() => change({ paused: "" }), [change]);
  const onTab = useCallback(
    (tab: SideTab) => change({ tab: tab === "failures" ? "" : tab }),
    [change],
  );
  const onFold = useCallback(() => change({ fold: "1" }), [change]);
  const onUnfold = useCallback(() => change({ fold: "" }), [change]);
  const onLeaveWall = useCallback(() => change({ wall: "" }), [change]);
  const onPalette = useCallback(() => setPaletteOpen(true), []);

  const isWall = view.wall === "1";
  const isFolded = view.fold === "1";
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
    if (isWall || isDetailed) {
      if (isWall) onLeaveWall();
      else onCloseDetails();
      return;
    }
    onCloseDrawer();
    sendToPanels("ob:escape", null);
    if (document.activeElement === searchRef.current) {
      if (searchRef.current?.value) change({ text: "" });
      else searchRef.current?.blur();
    }
  };
  const toggleWall = () => change({ wall: isWall ? "" : "1" });
  useKeyboardShortcuts({
    "/": () => searchRef.current?.focus(),
    " ": togglePause,
    "?": () => helpRef.current?.showModal(),
    t: nextTheme,
    c: () => copy(link()),
    f: isFolded ? onUnfold : onFold,
    W: toggleWall,
    "Ctrl+k": onPalette,
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

  const traceLink = useCallback(
    (traceId: string | undefined) => traceUrl(traceTemplate, traceId),
    [traceTemplate],
  );
  const origin =
    typeof window === "undefined" ? "" : new URL(baseUrl ?? ".", document.baseURI).origin;
  const isBlank = overview !== null && sum(overview.tasks) === 0 && !view.project && !view.task;
  const isWaiting = mustSignIn || !isLoaded;
  const isLost = isLoaded && !isWaiting && isLostConnection(connection);
  const hasTrouble = (troublesOf(overview) ?? []).length > 0;
  useTab(titleOf(overview, isLost), isLost ? "offline" : hasTrouble ? "attention" : "calm");
  const section = isWaiting ? "tasks" : readSection(view.section);
  const classes = classNames("ob", {
    "is-paused": isPaused,
    "is-lost": isLost,
    "is-partial": partial !== null,
    "has-details": isDetailed,
    "is-wall": isWall,
  });

  const waterfall = (
    <Waterfall
      feed={feed}
      task={shownTask}
      filter={rowFilter}
      node={view.node}
      onNode={onNode}
      onOpen={navigation.onOpen}
      isDetailed={isDetailed}
      job={view.job}
      request={navigation.request}
      zoom={view.zoom}
      onZoom={navigation.onZoom}
      folds={view.folds}
      onFolds={navigation.onFolds}
      traceLink={traceLink}
      onClose={isNarrow ? onCloseDrawer : undefined}
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
        onLeaveWall={isWall ? onLeaveWall : null}
        onGo={onGo}
        onPalette={onPalette}
      />
      <GlobalStatsBar feed={feed} />
      {!isWall && (
        <FilterBar feed={feed} view={view} change={change} link={link} searchRef={searchRef} />
      )}
      {isNarrow && !isWaiting && !isWall && (
        <SectionNav
          feed={feed}
          filters={filters}
          section={section}
          onSection={(name) => change({ section: name === "tasks" ? "" : name })}
        />
      )}
      <Announcer feed={feed} />
      {isLost && <AsOf feed={feed} />}
      {partial !== null && <PartialNote partial={partial} />}
      <main
        className={classNames("grid", {
          "is-blank": isBlank || isWaiting,
          "is-folded": isFolded && !isNarrow,
        })}
      >
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
              onLayout={navigation.onLayout}
              group={view.group}
              onGroup={navigation.onGroup}
              pins={view.pins}
              onPins={navigation.onPins}
            />
            {!isNarrow && !isWall && waterfall}
            {!isNarrow && !isWall && <Splitters isFolded={isFolded} />}
          </>
        )}
        {isWall ? null : isFolded && !isNarrow ? (
          <FoldedEvents onUnfold={onUnfold} />
        ) : (
          <RecentEventsTable
            feed={feed}
            filters={eventFilters}
            chosen={view.event}
            onChoose={onChoose}
            onAll={onAll}
            onResume={onResume}
            onFocus={onFocus}
            traceLink={traceLink}
            onFold={isNarrow ? undefined : onFold}
          />
        )}
        <SidePanel
          feed={feed}
          filters={filters}
          tab={view.tab === "workers" && !isWall ? "workers" : "failures"}
          onTab={onTab}
          onFocus={onFocus}
          onWorker={onWorker}
          onQueue={navigation.onQueue}
          onFailure={navigation.onFailure}
        />
      </main>
      {isNarrow && !isWall && navigation.isDrawerOpen && (
        <Drawer label="Waterfall">{waterfall}</Drawer>
      )}
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
          isFocused={navigation.isDetailsFocused || isNarrow}
          link={link}
          traceLink={traceLink}
          onFocus={onFocus}
          onWorker={onWorker}
          onQueue={navigation.onQueue}
          onFailure={navigation.onFailure}
          onNode={onNode}
          onRow={navigation.onRow}
          onNextFailure={isNarrow && !navigation.isDrawerOpen ? null : navigation.onNextFailure}
          onClose={onCloseDetails}
        />
      )}
      <HelpDialog
        dialog={helpRef}
        traceTemplate={traceTemplate ?? ""}
        onTraceTemplate={setTraceTemplate}
      />
      {isPaletteOpen && (
        <PagePalette
          feed={feed}
          overview={overview}
          onClose={() => setPaletteOpen(false)}
          page={{
            view,
            change,
            onGo,
            onTheme: nextTheme,
            onCopy: () => copy(link()),
            onHelp: () => helpRef.current?.showModal(),
          }}
        />
      )}
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

/** Says which part of the collector does not answer, so that what is shown may be old. */
function PartialNote({ partial }: { partial: PartialView }) {
  return (
    <aside className="partial-note" aria-label="What is not up to date" data-testid="partial">
      Not all of this is up to date: {partial.why.join("; ")}.
    </aside>
  );
}

function classNames(always: string, others: Record<string, boolean>): string {
  const on = Object.keys(others).filter((name) => others[name]);
  return [always, ...on].join(" ");
}

function isLostConnection({ kind }: Connection): boolean {
  return kind === "stale" || kind === "reconnecting" || kind === "refused";
}

function sum(tasks: OverviewHead["tasks"]): number {
  return Object.values(tasks).reduce((total, tasksOfStatus) => total + tasksOfStatus, 0);
}
