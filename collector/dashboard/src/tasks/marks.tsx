/** What a task's list and waterfall mark beside a status: an end with failures, and a pin. */
import type { Status } from "../feed/wire";
import { Icon, StatusIcon } from "../lib/icons";
import { isPartlyFailed, outcomeText } from "../names/outcome";

/** The icon of a status, or the mark of an end with failures: a ring that no tick is alone in. */
export function OutcomeIcon(props: { status: Status; failed: number }) {
  const { status, failed } = props;
  if (!isPartlyFailed(status, failed)) return <StatusIcon status={status} label />;
  const text = outcomeText(status, failed);
  return (
    <span role="img" aria-label={text} title={text}>
      <Icon className="st-failed">
        <circle cx="8" cy="8" r="6" />
        <path d="M8 4.6v4M8 11.2v.01" strokeWidth="2" />
      </Icon>
    </span>
  );
}

interface PinButtonProps {
  /** Whether Tab stops at it; default: yes. */
  isTabStop?: boolean;
  isPinned: boolean;
  onPin: () => void;
}

/** Pins a task to the top of the list, or unpins it. */
export function PinButton({ isTabStop = true, isPinned, onPin }: PinButtonProps) {
  return (
    <button
      type="button"
      className="icon-button pin"
      tabIndex={isTabStop ? 0 : -1}
      aria-pressed={isPinned}
      aria-label="Pin to the top"
      title={isPinned ? "Unpin (p)" : "Pin to the top of the list (p)"}
      onClick={onPin}
    >
      <Icon>
        <g fill={isPinned ? "currentColor" : "none"} strokeWidth="1.4">
          <path d="M5.5 2.5h5l-.8 4 2.3 2.4H4l2.3-2.4z" />
          <path d="M8 9v4.5" />
        </g>
      </Icon>
    </button>
  );
}
