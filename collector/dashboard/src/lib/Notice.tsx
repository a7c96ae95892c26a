/** A line that says what a link names and the page cannot show. */
import { CloseIcon } from "./icons";

interface NoticeProps {
  /** One or two sentences. */
  children: string;
  /** What to do about it, beside closing the notice. */
  action?: { label: string; onClick: () => void };
  onClose: () => void;
}

export function Notice({ children, action, onClose }: NoticeProps) {
  return (
    <div className="notice" role="note">
      <p>{children}</p>
      {action && (
        <button type="button" className="link" onClick={action.onClick}>
          {action.label}
        </button>
      )}
      <button type="button" className="icon-button" aria-label="Close" onClick={onClose}>
        <CloseIcon />
      </button>
    </div>
  );
}
