// Sends spans that are still open to otel-bridge, as snapshots without an end.
//
// Register it beside the BatchSpanProcessor, which alone sends the ends, with an exporter of its own
// that points to otel-bridge: a trace backend would keep a snapshot as a broken span.
// Works with @opentelemetry/sdk-trace-base 1.30 and 2.x. README.md has the five lines of set-up.
"use strict";

const { context, diag, TraceFlags } = require("@opentelemetry/api");
const { ExportResultCode, suppressTracing } = require("@opentelemetry/core");

const DEFAULTS = {
  afterMs: 500, // a shorter span is never sent
  tickMs: 500,
  heartbeatMs: 10_000, // the promise: silence of three times this is shown as stalled
  maxOpen: 2048, // further spans are counted in `untracked`
  maxPerTick: 256, // with tickMs, 512 snapshots a second: what a busy service sends at most
  filter: () => true, // for servers: isWorkOrEntry, below
};
const CHANGE_MS = 1000; // a change is sent a second after the last snapshot at the earliest
const MAX_EVENTS = 16;

/** For servers: spans that come from outside or take a message; what they call is left out. */
function isWorkOrEntry(span) {
  const parent = span.parentSpanContext;
  const isEntry = !(parent?.spanId ?? span.parentSpanId) || parent?.isRemote === true;
  return isEntry || span.kind === 3 /* PRODUCER */ || span.kind === 4 /* CONSUMER */;
}

class LiveSpanProcessor {
  /**
   * @param exporter an ordinary OTLP trace exporter that points to otel-bridge
   * @param options any of DEFAULTS
   */
  constructor(exporter, options = {}) {
    this.exporter = exporter;
    this.options = { ...DEFAULTS, ...options };
    const { heartbeatMs, tickMs, maxPerTick, maxOpen } = this.options;
    // More could not keep the promise, and would be shown as stalled while they run: after three
    // times as long, but not before 15 s.
    const within = Math.max(heartbeatMs, 5000);
    this.maxOpen = Math.min(maxOpen, Math.ceil((maxPerTick * within) / tickMs));
    this.open = new Map();
    this.stats = { sent: 0, failed: 0, untracked: 0, postponed: 0 };
    this.timer = setInterval(() => {
      try {
        this.tick();
      } catch (error) {
        this.stats.failed++; // a throw from a timer ends the process
        diag.error("LiveSpanProcessor", error);
      }
    }, this.options.tickMs);
    this.timer.unref?.(); // it must not keep the process alive
  }

  onStart(span) {
    const { spanId, traceFlags } = span.spanContext();
    if (!(traceFlags & TraceFlags.SAMPLED)) return;
    if (this.open.size >= this.maxOpen) {
      if (this.stats.untracked++ === 0) {
        diag.warn(`LiveSpanProcessor: ${this.maxOpen} spans are open, further ones are not watched`);
      }
      return;
    }
    // A monotonic clock, because the user may have given the span's start.
    const due = performance.now() + this.options.afterMs;
    this.open.set(spanId, { span, due, sentAt: -Infinity, said: undefined, isWanted: undefined });
  }

  onEnd(span) {
    this.open.delete(span.spanContext().spanId);
  }

  /** Sends what is due; one request at a time, so a slow collector only makes it less fresh. */
  tick() {
    if (this.exporting) return;
    const now = performance.now();
    const batch = [];
    for (const entry of this.open.values()) {
      if (entry.due > now) continue;
      if (batch.length >= this.options.maxPerTick) {
        this.stats.postponed++;
        break;
      }
      entry.isWanted ??= this.isWanted(entry.span);
      if (!entry.isWanted) {
        this.open.delete(entry.span.spanContext().spanId);
        continue;
      }
      entry.due = now + Math.max(CHANGE_MS, this.options.tickMs);
      const { name, events, status, attributes } = entry.span;
      const says = JSON.stringify([name, events.length, status, attributes]);
      if (says === entry.said && now - entry.sentAt < this.options.heartbeatMs) continue;
      entry.said = says;
      entry.sentAt = now;
      batch.push(snapshotOf(entry.span, this.options.heartbeatMs));
    }
    if (batch.length > 0) this.send(batch);
  }

  isWanted(span) {
    try {
      return Boolean(this.options.filter(span));
    } catch {
      return false; // the application's own function must not end its process
    }
  }

  send(batch) {
    // Without this wait the first snapshots lack the attributes that detectors find later.
    const resource = batch.map((one) => one.resource).find((one) => one?.asyncAttributesPending);
    this.exporting = Promise.resolve(resource?.waitForAsyncAttributes?.())
      // Inside a promise, because export() throws at a span of another major version, and a throw
      // from a timer ends the process.
      .then(
        () =>
          new Promise((done) => {
            context.with(suppressTracing(context.active()), () => this.exporter.export(batch, done));
          }),
      )
      .then(
        (result) => result.code === ExportResultCode.SUCCESS,
        () => false,
      )
      .then((isSent) => {
        this.stats[isSent ? "sent" : "failed"] += batch.length; // not again: the next one says more
        this.exporting = undefined;
      });
  }

  async forceFlush() {
    await this.exporting;
  }

  async shutdown() {
    clearInterval(this.timer);
    await this.exporting;
    this.open.clear();
    await this.exporter.shutdown();
  }
}

/** A copy as a plain object: the span may end before the exporter reads it. */
function snapshotOf(span, heartbeatMs) {
  return {
    name: span.name,
    kind: span.kind,
    spanContext: () => span.spanContext(),
    parentSpanContext: span.parentSpanContext,
    parentSpanId: span.parentSpanId, // of SDK 1.x
    startTime: span.startTime,
    endTime: [0, 0],
    duration: [0, 0],
    ended: false,
    status: { ...span.status },
    attributes: {
      ...span.attributes,
      "nexus.span.open": true,
      "nexus.span.beat_ms": heartbeatMs,
    },
    links: span.links,
    events: span.events.slice(-MAX_EVENTS),
    resource: span.resource,
    instrumentationScope: span.instrumentationScope,
    instrumentationLibrary: span.instrumentationLibrary, // of SDK 1.x
    droppedAttributesCount: span.droppedAttributesCount,
    droppedEventsCount: span.droppedEventsCount,
    droppedLinksCount: span.droppedLinksCount,
  };
}

module.exports = { LiveSpanProcessor, isWorkOrEntry };
