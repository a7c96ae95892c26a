import type { RefObject } from "react";
import { memo } from "react";
import type { Theme } from "../lib/browser";
import { count } from "../lib/format";
import {
  CloseIcon,
  MoonIcon,
  PauseIcon,
  PlayIcon,
  SearchIcon,
  SunIcon,
  SystemIcon,
} from "../lib/icons";
import type { ViewState } from "../lib/url-state";
import { AttentionLine } from "../page/AttentionLine";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useNewEvents } from "../views/useOverview";
import { ConnectionBadge } from "./ConnectionBadge";

const IS_MAC = typeof navigator !== "undefined" && /Mac|iP/.test(navigator.platform);

interface TopBarProps {
  feed: MonitoringFeed;
  isPaused: boolean;
  onPause: () => void;
  /** Null when the browser is not signed in. */
  onSignOut: (() => void) | null;
  theme: Theme;
  onTheme: () => void;
  helpRef: RefObject<HTMLDialogElement | null>;
  /** Null when the page is not in wall mode, which shows no other controls. */
  onLeaveWall: (() => void) | null;
  /** Shows what needs attention. */
  onGo: (to: Partial<ViewState>) => void;
  /** Opens the command palette. */
  onPalette: () => void;
}

/** The name, the state of the connection, and the controls of the whole page. */
export const TopBar = memo(function TopBar({
  feed,
  isPaused,
  onPause,
  onSignOut,
  theme,
  onTheme,
  helpRef,
  onLeaveWall,
  onGo,
  onPalette,
}: TopBarProps) {
  const newEvents = useNewEvents(feed);
  const isWall = onLeaveWall !== null;
  return (
    <header className="top">
      <h1 className="brand">
        <Mark /> otel-bridge
      </h1>
      <ConnectionBadge feed={feed} />
      <AttentionLine feed={feed} isWall={isWall} onGo={onGo} onAll={onPalette} />
      {isWall ? (
        <button
          type="button"
          className="icon-button"
          aria-label="Leave the wall mode"
          title="Leave the wall mode: Esc"
          onClick={onLeaveWall}
        >
          <CloseIcon />
        </button>
      ) : (
        <span className="top-end">
          <button
            type="button"
            className="button quiet"
            title="Go to a task, job, worker or queue, or do something (Ctrl-K)"
            onClick={onPalette}
          >
            <SearchIcon />
            <span className="offscreen">Commands</span>
            <kbd aria-hidden="true">{IS_MAC ? "⌘" : "Ctrl "}K</kbd>
          </button>
          <button
            type="button"
            className={`button${isPaused ? " is-on" : ""}`}
            aria-pressed={isPaused}
            onClick={onPause}
            title="Pause and resume the page (space)"
          >
            {isPaused ? <PlayIcon /> : <PauseIcon />}
            <span className="pause-label">{isPaused ? "Resume" : "Pause"}</span>
            {newEvents !== null && newEvents > 0 && (
              <span className="num" title="Events, heartbeats included">
                {" "}
                · {count(newEvents)} new
              </span>
            )}
          </button>
          {onSignOut && (
            <button type="button" className="button quiet" onClick={onSignOut}>
              Sign out
            </button>
          )}
          <ThemeButton theme={theme} onClick={onTheme} />
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
      )}
    </header>
  );
});

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
