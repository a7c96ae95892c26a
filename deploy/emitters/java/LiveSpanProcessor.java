import static java.util.concurrent.TimeUnit.MILLISECONDS;

import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.context.Context;
import io.opentelemetry.sdk.common.CompletableResultCode;
import io.opentelemetry.sdk.trace.ReadWriteSpan;
import io.opentelemetry.sdk.trace.ReadableSpan;
import io.opentelemetry.sdk.trace.SpanProcessor;
import io.opentelemetry.sdk.trace.data.DelegatingSpanData;
import io.opentelemetry.sdk.trace.data.EventData;
import io.opentelemetry.sdk.trace.data.SpanData;
import io.opentelemetry.sdk.trace.export.SpanExporter;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Predicate;
import java.util.logging.Level;
import java.util.logging.Logger;

/**
 * Sends spans that are still open to otel-bridge, as snapshots without an end.
 *
 * <p>Register it beside the BatchSpanProcessor, which alone sends the ends, with an exporter of its
 * own that points to otel-bridge: a trace backend would keep a snapshot as a broken span. Spans
 * shorter than 500 ms are never sent, and at most 512 snapshots a second are. Java 11 or newer.
 */
public final class LiveSpanProcessor implements SpanProcessor {
  private static final Logger logger = Logger.getLogger(LiveSpanProcessor.class.getName());
  private static final long AFTER_NANOS = 500_000_000L;
  private static final long CHANGE_NANOS = 1_000_000_000L;
  private static final long TICK_MILLIS = 500;
  private static final int MAX_OPEN = 2048;
  private static final int MAX_PER_TICK = 256;
  private static final int MAX_EVENTS = 16;

  private final ConcurrentHashMap<String, OpenSpan> open = new ConcurrentHashMap<>();
  private final AtomicLong untracked = new AtomicLong();
  private final SpanExporter exporter;
  private final long heartbeatMillis;
  private final Predicate<ReadableSpan> filter;
  private final ScheduledExecutorService timer;
  private volatile CompletableResultCode exporting = CompletableResultCode.ofSuccess();

  /** All spans, with a heartbeat every 10 s. */
  public LiveSpanProcessor(SpanExporter exporter) {
    this(exporter, 10_000, span -> true);
  }

  /**
   * @param heartbeatMillis the promise: three times this in silence is shown as stalled
   * @param filter which spans to send; for servers {@link #isWorkOrEntry}
   */
  public LiveSpanProcessor(
      SpanExporter exporter, long heartbeatMillis, Predicate<ReadableSpan> filter) {
    this.exporter = exporter;
    this.heartbeatMillis = heartbeatMillis;
    this.filter = filter;
    timer =
        Executors.newSingleThreadScheduledExecutor(
            task -> {
              Thread thread = new Thread(task, "live-spans");
              thread.setDaemon(true);
              return thread;
            });
    timer.scheduleWithFixedDelay(this::tickSafely, TICK_MILLIS, TICK_MILLIS, MILLISECONDS);
  }

  /** Spans that come from outside, or take or send a message: what a server needs. */
  public static boolean isWorkOrEntry(ReadableSpan span) {
    boolean isEntry = !span.getParentSpanContext().isValid() || span.getParentSpanContext().isRemote();
    return isEntry || span.getKind() == SpanKind.CONSUMER || span.getKind() == SpanKind.PRODUCER;
  }

  /** Spans that were not watched, because 2,048 were open. */
  public long getUntracked() {
    return untracked.get();
  }

  @Override
  public void onStart(Context parent, ReadWriteSpan span) {
    if (!span.getSpanContext().isSampled()) {
      return;
    }
    if (open.size() >= MAX_OPEN) {
      if (untracked.getAndIncrement() == 0) {
        logger.warning(MAX_OPEN + " spans are open, further ones are not watched");
      }
      return;
    }
    open.put(keyOf(span), new OpenSpan(span));
  }

  @Override
  public boolean isStartRequired() {
    return true;
  }

  @Override
  public void onEnd(ReadableSpan span) {
    open.remove(keyOf(span));
  }

  @Override
  public boolean isEndRequired() {
    return true;
  }

  @Override
  public CompletableResultCode forceFlush() {
    return exporting;
  }

  @Override
  public CompletableResultCode shutdown() {
    timer.shutdown();
    open.clear();
    return exporter.shutdown();
  }

  private void tickSafely() {
    try {
      tick();
    } catch (Throwable error) {
      // A scheduled task that throws is never run again; the next tick says what this one did not.
      logger.log(Level.FINE, "snapshots were not sent", error);
    }
  }

  private void tick() {
    if (!exporting.isDone()) {
      return; // one request at a time: a slow collector only makes it less fresh
    }
    long now = System.nanoTime();
    List<SpanData> batch = new ArrayList<>();
    for (Map.Entry<String, OpenSpan> entry : open.entrySet()) {
      OpenSpan one = entry.getValue();
      if (now - one.since < AFTER_NANOS) {
        continue;
      }
      if (!one.isWanted && !filter.test(one.span)) {
        open.remove(entry.getKey());
        continue;
      }
      one.isWanted = true;
      boolean isDue = !one.isSent || now - one.sentAt >= heartbeatMillis * 1_000_000L;
      if (!isDue && now - one.sentAt < CHANGE_NANOS) {
        continue;
      }
      SpanData data = one.span.toSpanData(); // an immutable copy
      if (data.hasEnded()) {
        continue; // the BatchSpanProcessor has it
      }
      int says =
          Objects.hash(
              data.getName(), data.getAttributes(), data.getTotalRecordedEvents(), data.getStatus());
      if (!isDue && says == one.said) {
        continue;
      }
      if (batch.size() >= MAX_PER_TICK) {
        break;
      }
      one.said = says;
      one.sentAt = now;
      one.isSent = true;
      batch.add(new Snapshot(data, heartbeatMillis));
    }
    if (!batch.isEmpty()) {
      exporting = exporter.export(batch);
    }
  }

  private static String keyOf(ReadableSpan span) {
    return span.getSpanContext().getTraceId() + span.getSpanContext().getSpanId();
  }

  private static final class OpenSpan {
    final ReadWriteSpan span;
    final long since = System.nanoTime();
    long sentAt;
    int said;
    boolean isSent;
    boolean isWanted;

    OpenSpan(ReadWriteSpan span) {
      this.span = span;
    }
  }

  /** The copy of an open span, whose end is 0, with two attributes that the live span never has. */
  private static final class Snapshot extends DelegatingSpanData {
    private final Attributes attributes;

    Snapshot(SpanData data, long heartbeatMillis) {
      super(data);
      attributes =
          data.getAttributes().toBuilder()
              .put("nexus.span.open", true)
              .put("nexus.span.beat_ms", heartbeatMillis)
              .build();
    }

    @Override
    public Attributes getAttributes() {
      return attributes;
    }

    @Override
    public int getTotalAttributeCount() {
      return super.getTotalAttributeCount() + 2; // else -2 attributes count as dropped
    }

    @Override
    public List<EventData> getEvents() {
      List<EventData> events = super.getEvents();
      return events.subList(Math.max(0, events.size() - MAX_EVENTS), events.size());
    }
  }
}
