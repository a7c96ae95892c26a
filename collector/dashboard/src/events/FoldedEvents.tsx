import { ChevronIcon } from "../lib/icons";

/** What is left of the event table while it is folded away. */
export function FoldedEvents({ onUnfold }: { onUnfold: () => void }) {
  return (
    <section className="panel events" aria-label="Events">
      <button type="button" className="events-unfold" aria-expanded={false} onClick={onUnfold}>
        <ChevronIcon /> <h2>Events</h2>
      </button>
    </section>
  );
}
