/** Icons. Every status has a shape of its own, so that it is recognised without its colour. */
import type { ReactNode } from "react";
import type { Status } from "../feed/wire";
import { STATUS_LABELS } from "./format";

/** The frame of all icons: 16 px, drawn with lines. */
export function Icon({ children, className }: { children: ReactNode; className?: string }) {
  return (
    <svg
      className={className ? `icon ${className}` : "icon"}
      viewBox="0 0 16 16"
      width="16"
      height="16"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.6"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
      focusable="false"
    >
      {children}
    </svg>
  );
}

const SHAPES: Record<Status, ReactNode> = {
  pending: <circle cx="8" cy="8" r="5.6" strokeDasharray="2.4 2" />,
  processing: (
    <>
      <circle cx="8" cy="8" r="5.6" />
      <path d="M8 4.8a3.2 3.2 0 0 1 0 6.4z" fill="currentColor" stroke="none" />
    </>
  ),
  completed: (
    <>
      <circle cx="8" cy="8" r="6.4" fill="currentColor" stroke="none" />
      <path d="M5.2 8.2l2 2 3.7-4.2" stroke="var(--panel)" strokeWidth="1.7" />
    </>
  ),
  failed: (
    <>
      <path
        d="M5.4 1.8h5.2l3.6 3.6v5.2l-3.6 3.6H5.4L1.8 10.6V5.4z"
        fill="currentColor"
        stroke="none"
      />
      <path d="M5.8 5.8l4.4 4.4M10.2 5.8l-4.4 4.4" stroke="var(--panel)" />
    </>
  ),
  retrying: (
    <>
      <path d="M13 8a5 5 0 1 1-1.6-3.7" />
      <path d="M13.2 1.9v2.9h-2.9" />
    </>
  ),
  stalled: (
    <>
      <path d="M8 2.2l6.2 11.2H1.8z" />
      <path d="M8 6.6v3M8 11.6v.01" />
    </>
  ),
};

/** The icon of a status; pass `label` when no text beside it names the status. */
export function StatusIcon({ status, label }: { status: Status; label?: boolean }) {
  const icon = <Icon className={`st-${status}`}>{SHAPES[status]}</Icon>;
  if (!label) return icon;
  return (
    <span role="img" aria-label={STATUS_LABELS[status]} title={STATUS_LABELS[status]}>
      {icon}
    </span>
  );
}

export const NeutralIcon = () => (
  <Icon className="st-none">
    <circle cx="8" cy="8" r="1.8" fill="currentColor" stroke="none" />
  </Icon>
);
export const PauseIcon = () => (
  <Icon>
    <path d="M5.5 3.5v9M10.5 3.5v9" strokeWidth="2" />
  </Icon>
);
export const PlayIcon = () => (
  <Icon>
    <path d="M5 3.2l7.5 4.8L5 12.8z" fill="currentColor" />
  </Icon>
);
export const SunIcon = () => (
  <Icon>
    <circle cx="8" cy="8" r="2.8" />
    <path d="M8 1.5v1.3M8 13.2v1.3M1.5 8h1.3M13.2 8h1.3M3.4 3.4l.9.9M11.7 11.7l.9.9M3.4 12.6l.9-.9M11.7 4.3l.9-.9" />
  </Icon>
);
export const MoonIcon = () => (
  <Icon>
    <path d="M13.2 9.6A5.6 5.6 0 0 1 6.4 2.8a5.6 5.6 0 1 0 6.8 6.8z" />
  </Icon>
);
export const SystemIcon = () => (
  <Icon>
    <rect x="1.8" y="2.8" width="12.4" height="8.4" rx="1.4" />
    <path d="M5.5 13.8h5" />
  </Icon>
);
export const SearchIcon = () => (
  <Icon>
    <circle cx="7" cy="7" r="4.4" />
    <path d="M10.4 10.4l3.4 3.4" />
  </Icon>
);
export const LinkIcon = () => (
  <Icon>
    <path d="M6.6 9.4a2.6 2.6 0 0 0 3.7 0l2.2-2.2a2.6 2.6 0 0 0-3.7-3.7l-.8.8" />
    <path d="M9.4 6.6a2.6 2.6 0 0 0-3.7 0L3.5 8.8a2.6 2.6 0 0 0 3.7 3.7l.8-.8" />
  </Icon>
);
export const CloseIcon = () => (
  <Icon>
    <path d="M4 4l8 8M12 4l-8 8" />
  </Icon>
);
export const ChevronIcon = () => (
  <Icon className="chevron">
    <path d="M6 4l4 4-4 4" />
  </Icon>
);
export const ExternalIcon = () => (
  <Icon>
    <path d="M9.5 2.5h4v4M13.2 2.8L7.5 8.5M11.5 9.5v3a1 1 0 0 1-1 1h-7a1 1 0 0 1-1-1v-7a1 1 0 0 1 1-1h3" />
  </Icon>
);
export const CheckIcon = () => (
  <Icon>
    <path d="M3 8.5l3.2 3.2L13 4.5" />
  </Icon>
);
export const CopyIcon = () => (
  <Icon>
    <rect x="5.5" y="5.5" width="8" height="8" rx="1.4" />
    <path d="M10.5 5.5v-2a1 1 0 0 0-1-1h-6a1 1 0 0 0-1 1v6a1 1 0 0 0 1 1h2" />
  </Icon>
);
export const WaterfallIcon = () => (
  <Icon>
    <path d="M2.5 4h5M5.5 8h5M9 12h4.5" strokeWidth="2" />
  </Icon>
);
