/**
 * What the page shows of the collector: its subscriptions, and the newest window of each.
 *
 * Independent of React. Components that ask for the same view with equal parameters share one
 * subscription. What arrives is applied at once; listeners are called in an animation frame, so
 * that several messages cost one render, and for one of the long lists in each frame.
 */
import { CollectorClock } from "./collector-clock";
import { BROWSER_HOST, FramePacer, type Host } from "./frame-pacer";
import { PacedSender, type Transport } from "./paced-sender";
import {
  type ChangeMessage,
  type FullMessage,
  reduceView,
  type ShownWindow,
  type ViewName,
} from "./reduce";
import type { Connection, ServerMessage, SocketListener } from "./view-socket";
import type { Gone, Hello, PartialView, Refused, Subscribed, Views } from "./view-types";

/** A subscription stays so long after its last user: React's StrictMode mounts twice. */
const LINGER_MS = 1000;
/** A subscription that was refused because the collector is busy is asked for again after so long. */
const REFUSED_RETRY_MS = 5000;
/** Subscriptions of one page, before the collector has said how many it takes. */
const DEFAULT_MAX_SUBSCRIPTIONS = 16;
/** The view that comes even on hold: its counter says how much is new. */
const ALWAYS_SENT: ViewName = "overview";

export type ViewStatus = "off" | "loading" | "live" | "stale" | "gone" | "refused";

/** What a component sees of a view; the same object until something in it changes. */
export interface ViewSnapshot<V extends ViewName = ViewName> {
  /** Null until the view has come, and when it is gone. */
  readonly head: Views[V]["head"] | null;
  readonly rows: readonly Views[V]["row"][];
  readonly status: ViewStatus;
  /** Why it is `gone` or `refused`; else null. */
  readonly why: string | null;
  /** The collector's time of the window, ms. */
  readonly at: number | null;
  /** What of it is old or missing, as a part of the collector does not answer; null: nothing. */
  readonly partial: PartialView | null;
  /** Whether these rows are of other parameters, until the new ones have come. */
  readonly isRefreshing: boolean;
}

interface Subscription {
  readonly id: number;
  readonly view: ViewName;
  readonly key: string;
  readonly params: object;
  readonly listeners: Set<() => void>;
  shown: ShownWindow | null;
  refusal: Refused | null;
  goneWhy: string | null;
  /** Whether it was asked for, and no window has come yet; changes before it are skipped. */
  isAwaited: boolean;
  snapshot: ViewSnapshot;
  lingerTimer: ReturnType<typeof setTimeout> | null;
  retryTimer: ReturnType<typeof setTimeout> | null;
}

const EMPTY = {
  head: null,
  rows: [],
  why: null,
  at: null,
  partial: null,
  isRefreshing: false,
} as const;
export const OFF: ViewSnapshot<never> = { ...EMPTY, status: "off" };
export const LOADING: ViewSnapshot<never> = { ...EMPTY, status: "loading" };

/** Parameters as text, equal for equal ones: sorted, without those that are left out. */
export function canonicalParams(params: object): string {
  const given = Object.entries(params).filter(([, value]) => value !== null && value !== undefined);
  return JSON.stringify(Object.fromEntries(given.sort(([a], [b]) => (a < b ? -1 : 1))));
}

export class ViewStore implements SocketListener {
  private readonly clock: CollectorClock;
  private readonly sender: PacedSender;
  private connection: Connection = { kind: "connecting" };
  private readonly subscriptions = new Map<string, Subscription>();
  private readonly byId = new Map<number, Subscription>();
  /** By the collector's number: several if it takes parameters for equal that we do not. */
  private readonly byNumber = new Map<number, Set<Subscription>>();
  private nextId = 1;
  private maxSubscriptions = DEFAULT_MAX_SUBSCRIPTIONS;
  private readonly pacer: FramePacer<Subscription>;
  private readonly connectionListeners = new Set<() => void>();
  private pausedAt: number | null = null;
  private isHeld = false;

  constructor(private readonly host: Host = BROWSER_HOST) {
    this.clock = new CollectorClock(() => host.monotonic());
    this.sender = new PacedSender(() => host.monotonic());
    this.pacer = new FramePacer(host, (changed, isOtherChanged) =>
      this.show(changed, isOtherChanged),
    );
  }

  /** Send to this from now on; null: to nothing. */
  connect(transport: Transport | null): void {
    this.sender.connect(transport);
  }

  /** Forget what was shown, as for another collector. */
  clear(): void {
    for (const subscription of this.subscriptions.values()) {
      Object.assign(subscription, { shown: null, refusal: null, goneWhy: null, isAwaited: false });
      this.pacer.note(subscription);
    }
    this.byNumber.clear();
    this.clock.reset();
    this.clock.lastAt = null;
  }

  // --- time, pause, connection ------------------------------------------------------------------

  /** The collector's time, ms; stands still while paused, and while nothing is heard from it. */
  now(): number {
    if (this.pausedAt !== null) return this.pausedAt;
    const isLive = this.connection.kind === "live" || this.clock.lastAt === null;
    return isLive ? this.clock.now() : (this.clock.lastAt as number);
  }

  /** Stop and restart everything but the view `overview`. */
  hold(isOn: boolean): void {
    if (isOn === (this.pausedAt !== null)) return;
    this.pausedAt = isOn ? this.now() : null;
    this.noteHold();
    this.pacer.noteOther();
  }

  /** Whether the page is paused by `hold`. */
  isPaused(): boolean {
    return this.pausedAt !== null;
  }

  /** Called when the page was hidden or became visible: a hidden page is sent only `overview`. */
  noteVisibility(): void {
    this.noteHold();
    this.pacer.replan();
  }

  private noteHold(): void {
    const isHeld = this.pausedAt !== null || this.host.isHidden();
    if (isHeld === this.isHeld) return;
    this.isHeld = isHeld;
    this.sender.send({ op: "hold", on: isHeld });
    if (!isHeld) {
      // Those that were kept as they were while the connection came back.
      for (const subscription of this.subscriptions.values()) {
        if (subscription.isAwaited) this.ask(subscription);
      }
    }
  }

  getConnection(): Connection {
    return this.connection;
  }

  /** Call `listener` after the connection or the pause has changed; returns how to stop. */
  subscribeConnection(listener: () => void): () => void {
    this.connectionListeners.add(listener);
    return () => this.connectionListeners.delete(listener);
  }

  setConnection(connection: Connection): void {
    const old = this.connection;
    if (connection.kind === "stale" && old.kind === "stale" && connection.since === old.since)
      return;
    this.connection = connection;
    this.pacer.noteOther();
    if (connection.kind !== old.kind) {
      for (const subscription of this.subscriptions.values()) this.pacer.note(subscription);
    }
  }

  // --- subscriptions ----------------------------------------------------------------------------

  /** Show a view to `listener`'s component from now on; returns how to stop. */
  subscribe(view: ViewName, params: object, listener: () => void): () => void {
    const key = `${view} ${canonicalParams(params)}`;
    const subscription = this.subscriptions.get(key) ?? this.open(view, params, key);
    subscription.listeners.add(listener);
    if (subscription.lingerTimer !== null) clearTimeout(subscription.lingerTimer);
    subscription.lingerTimer = null;
    return () => {
      subscription.listeners.delete(listener);
      if (subscription.listeners.size > 0 || subscription.lingerTimer !== null) return;
      subscription.lingerTimer = setTimeout(() => this.drop(subscription), LINGER_MS);
    };
  }

  /** What is shown of a view; `LOADING` while nothing has subscribed to it. */
  snapshot(view: ViewName, params: object): ViewSnapshot {
    return this.subscriptions.get(`${view} ${canonicalParams(params)}`)?.snapshot ?? LOADING;
  }

  private open(view: ViewName, params: object, key: string): Subscription {
    this.makeRoom();
    const subscription: Subscription = {
      id: this.nextId++,
      view,
      key,
      params: JSON.parse(canonicalParams(params)) as object,
      listeners: new Set(),
      shown: null,
      refusal: null,
      goneWhy: null,
      isAwaited: false,
      snapshot: LOADING,
      lingerTimer: null,
      retryTimer: null,
    };
    this.subscriptions.set(key, subscription);
    this.byId.set(subscription.id, subscription);
    this.ask(subscription);
    return subscription;
  }

  /** Drop subscriptions without users early when the collector would take no further one. */
  private makeRoom(): void {
    for (const other of this.subscriptions.values()) {
      if (this.subscriptions.size < this.maxSubscriptions) return;
      if (other.listeners.size === 0) this.drop(other);
    }
  }

  private drop(subscription: Subscription): void {
    if (subscription.lingerTimer !== null) clearTimeout(subscription.lingerTimer);
    if (subscription.retryTimer !== null) clearTimeout(subscription.retryTimer);
    this.subscriptions.delete(subscription.key);
    this.byId.delete(subscription.id);
    this.pacer.forget(subscription);
    for (const [number, group] of this.byNumber) {
      if (group.delete(subscription) && group.size === 0) this.byNumber.delete(number);
    }
    this.sender.send({ op: "unsub", id: subscription.id });
  }

  private ask(subscription: Subscription): void {
    subscription.isAwaited = true;
    subscription.refusal = null;
    this.pacer.note(subscription);
    const { id, view, params } = subscription;
    this.sender.send({ op: "sub", id, view, params });
  }

  // --- messages ---------------------------------------------------------------------------------

  /** Take one message of the collector; unknown ones are ignored. */
  receive(message: ServerMessage): void {
    if (typeof message.at === "number") this.noteTime(message as { t: string; at: number });
    switch (message.t) {
      case "hello":
        this.onHello(message as Hello);
        break;
      case "sub":
        this.onSubscribed(message as unknown as Subscribed);
        break;
      case "full":
      case "change":
        this.onWindow(message as unknown as FullMessage | ChangeMessage);
        break;
      case "gone":
        this.onGone(message as unknown as Gone);
        break;
      case "refused":
        this.onRefused(message as unknown as Refused);
        break;
      default:
    }
  }

  private noteTime({ t, at }: { t: string; at: number }): void {
    if (t === "hello") this.clock.reset();
    const late = this.clock.note(at);
    // As often as `tick` comes is enough: it changes with every message.
    if (t === "tick" && this.connection.kind === "live") {
      this.setConnection({ kind: "live", lagMs: late });
    }
  }

  private onHello(hello: Hello): void {
    this.maxSubscriptions = hello.limits.subs;
    this.sender.clear();
    this.byNumber.clear();
    this.isHeld = this.pausedAt !== null || this.host.isHidden();
    for (const subscription of this.subscriptions.values()) {
      // A paused page stays as it is; the collector sends a new subscription even on hold.
      const isKept =
        this.isHeld && subscription.shown !== null && subscription.view !== ALWAYS_SENT;
      if (isKept) subscription.isAwaited = true;
      else this.ask(subscription);
    }
    if (this.isHeld) this.sender.send({ op: "hold", on: true });
  }

  private onSubscribed({ id, s }: Subscribed): void {
    const subscription = this.byId.get(id);
    if (subscription === undefined) return;
    const group = this.byNumber.get(s) ?? new Set();
    group.add(subscription);
    this.byNumber.set(s, group);
  }

  private onWindow(message: FullMessage | ChangeMessage): void {
    for (const subscription of this.byNumber.get(message.s) ?? []) {
      if (message.t === "change" && subscription.isAwaited) continue;
      const shown = reduceView(subscription.shown, message);
      if (shown === null) {
        this.ask(subscription);
        continue;
      }
      Object.assign(subscription, { shown, goneWhy: null, isAwaited: false });
      this.pacer.note(subscription);
    }
  }

  private onGone({ s, why }: Gone): void {
    for (const subscription of this.byNumber.get(s) ?? []) {
      Object.assign(subscription, { shown: null, goneWhy: why, isAwaited: false });
      this.pacer.note(subscription);
    }
  }

  private onRefused(refused: Refused): void {
    const subscription = this.byId.get(refused.id ?? -1);
    if (subscription === undefined) return;
    subscription.refusal = refused;
    subscription.isAwaited = false;
    this.pacer.note(subscription);
    if (refused.why === "params" || refused.why === "right") return;
    if (subscription.retryTimer !== null) clearTimeout(subscription.retryTimer);
    subscription.retryTimer = setTimeout(() => this.ask(subscription), REFUSED_RETRY_MS);
  }

  // --- showing ----------------------------------------------------------------------------------

  /** Call the listeners of everything that has changed, without waiting for a frame. */
  flush(): void {
    this.pacer.flush();
  }

  private show(changed: readonly Subscription[], isConnectionChanged: boolean): void {
    const listeners = isConnectionChanged ? [...this.connectionListeners] : [];
    for (const subscription of changed) {
      subscription.snapshot = this.makeSnapshot(subscription);
      listeners.push(...subscription.listeners);
    }
    for (const listener of listeners) listener();
  }

  private makeSnapshot(subscription: Subscription): ViewSnapshot {
    const { shown, refusal, goneWhy, isAwaited } = subscription;
    const why = refusal?.detail ?? goneWhy;
    if (refusal !== null) return { ...EMPTY, status: "refused", why };
    if (goneWhy !== null) return { ...EMPTY, status: "gone", why };
    if (shown === null) return LOADING;
    const isLive = this.connection.kind === "live" && (!isAwaited || this.pausedAt !== null);
    return {
      head: shown.head as ViewSnapshot["head"],
      rows: shown.rows as unknown as ViewSnapshot["rows"],
      status: isLive ? "live" : "stale",
      why: null,
      at: shown.at,
      partial: shown.partial,
      isRefreshing: false,
    };
  }
}
