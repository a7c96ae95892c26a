/** What a list says about itself: that it is empty, waits for the collector, or is shown in part. */
import { count } from "./format";

/** Rows that a list asks for at first, and at most. */
export const FIRST_ROWS = 60;
export const MAX_ROWS = 200;

/** Of a view, what the notes need. */
interface ViewState {
  status: string;
  why: string | null;
  isRefreshing: boolean;
}

/** Shown instead of rows: why there are none. */
export function EmptyNote({ view, children }: { view: ViewState; children: string }) {
  if (view.status === "refused")
    return <p className="none c-failed">The collector does not show this list: {view.why}</p>;
  const isWaiting = view.status === "loading" || view.isRefreshing;
  return <p className="none">{isWaiting ? "Asking the collector…" : children}</p>;
}

/** In a heading while other filters, or other rows, were asked for and have not come. */
export function Refreshing({ view }: { view: ViewState }) {
  return view.isRefreshing ? <span className="refreshing muted">asking…</span> : null;
}

interface MoreRowsProps {
  shown: number;
  total: number;
  onMore: () => void;
}

/** Below a list: how much of it is shown, and a button for more. */
export function MoreRows({ shown, total, onMore }: MoreRowsProps) {
  if (shown >= total) return null;
  return (
    <p className="more-rows muted num">
      {count(shown)} of {count(total)}
      {shown < MAX_ROWS && (
        <button type="button" className="link" onClick={onMore}>
          Show more
        </button>
      )}
    </p>
  );
}
