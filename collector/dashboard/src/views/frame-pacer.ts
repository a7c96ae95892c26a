/** When what has changed is shown: in an animation frame, one of the long lists in each frame. */
import type { ViewName } from "./reduce";

/**
 * Views with many rows. Drawn together at 5,000 events a second they made frames that took up to
 * 47 ms of the processor, one in each frame at most 25 ms.
 */
const LONG: ReadonlySet<ViewName> = new Set<ViewName>(["tasks", "tree", "events"]);
/** A hidden page gets no animation frames: it is updated so often, for its title. */
const HIDDEN_FRAME_MS = 1000;

/** What the store needs from the browser; tests provide their own. */
export interface Host {
  /** Milliseconds that never go back. */
  monotonic(): number;
  /** Call back before the next paint. */
  requestFrame(callback: () => void): void;
  /** Whether the page is hidden (in a background tab, or minimised). */
  isHidden(): boolean;
}

export const BROWSER_HOST: Host = {
  monotonic: () => performance.now(),
  requestFrame: (callback) => requestAnimationFrame(callback),
  isHidden: () => typeof document !== "undefined" && document.hidden,
};

/** Something of a view that changes. */
interface Changing {
  readonly view: ViewName;
}

export class FramePacer<T extends Changing> {
  /** In the order in which they changed. */
  private readonly changed = new Set<T>();
  private isOtherChanged = false;
  /** Number of the current plan: the callback of a replaced plan sees another number. */
  private plan = 0;
  private isPlanned = false;

  /** Args: `show` shows these, and, if the flag is set, what `noteOther` was called for. */
  constructor(
    private readonly host: Host,
    private readonly show: (changed: readonly T[], isOtherChanged: boolean) => void,
  ) {}

  /** Show this in a frame to come. */
  note(item: T): void {
    this.changed.add(item);
    this.schedule();
  }

  /** Show in the next frame what belongs to no view. */
  noteOther(): void {
    this.isOtherChanged = true;
    this.schedule();
  }

  /** Show this no more. */
  forget(item: T): void {
    this.changed.delete(item);
  }

  /** Show everything now, without waiting for a frame. */
  flush(): void {
    this.showNow([...this.changed]);
  }

  /** Discard the plan, because the page was hidden or became visible. */
  replan(): void {
    this.isPlanned = false;
    if (this.host.isHidden()) this.schedule();
    else this.flush();
  }

  private schedule(): void {
    if (this.isPlanned || (this.changed.size === 0 && !this.isOtherChanged)) return;
    this.isPlanned = true;
    const plan = ++this.plan;
    const run = () => {
      if (plan !== this.plan || !this.isPlanned) return;
      this.showNow(this.due());
      this.schedule();
    };
    if (this.host.isHidden()) setTimeout(run, HIDDEN_FRAME_MS);
    else this.host.requestFrame(run);
  }

  /** What has changed, of the long lists only the one that waits the longest. */
  private due(): T[] {
    const changed = [...this.changed];
    if (this.host.isHidden()) return changed;
    const long = changed.find(({ view }) => LONG.has(view))?.view;
    return changed.filter(({ view }) => view === long || !LONG.has(view));
  }

  private showNow(items: readonly T[]): void {
    this.isPlanned = false;
    const isOtherChanged = this.isOtherChanged;
    this.isOtherChanged = false;
    for (const item of items) this.changed.delete(item);
    this.show(items, isOtherChanged);
  }
}
