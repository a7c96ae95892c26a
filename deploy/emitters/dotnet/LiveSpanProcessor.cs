// UNTESTED: written by the sources of OpenTelemetry .NET 1.x; no .NET SDK was at hand to run it.
#nullable enable

using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Diagnostics;
using System.Threading;
using OpenTelemetry;

/// <summary>
/// Sends spans that are still open to otel-bridge, again and again until they end.
/// <para>
/// Register it BEFORE the processor that sends the ends, with an exporter of its own that points to
/// otel-bridge: a trace backend would keep a snapshot as a span of no duration. The exporter of .NET
/// writes an open Activity with its end at its start, and an Activity cannot be copied. So the tag
/// nexus.span.open, which is on an Activity from its start to its end, says that it is open.
/// </para>
/// </summary>
public sealed class LiveSpanProcessor : CompositeProcessor<Activity>
{
    private const string OpenTag = "nexus.span.open";
    private const string HeartbeatTag = "nexus.span.beat_ms";
    private const int TickMillis = 500;
    private const int MaxOpen = 2048;
    private const int MaxPerTick = 256;
    private static readonly TimeSpan After = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan Change = TimeSpan.FromSeconds(1);

    private readonly ConcurrentDictionary<ActivitySpanId, OpenSpan> open =
        new ConcurrentDictionary<ActivitySpanId, OpenSpan>();
    private readonly Sender sender;
    private readonly TimeSpan heartbeat;
    private readonly Func<Activity, bool> filter;
    private readonly Timer timer;
    private int isTicking;
    private long untracked;

    /// <param name="exporter">An ordinary OTLP exporter that points to otel-bridge.</param>
    /// <param name="heartbeatMillis">The promise: three times this in silence is shown as stalled.</param>
    /// <param name="filter">
    /// Which spans to send, by what is known at their start; null: all. For servers IsWorkOrEntry.
    /// </param>
    public LiveSpanProcessor(
        BaseExporter<Activity> exporter, int heartbeatMillis = 10_000, Func<Activity, bool>? filter = null)
        : this(new Sender(exporter), heartbeatMillis, filter)
    {
    }

    private LiveSpanProcessor(Sender sender, int heartbeatMillis, Func<Activity, bool>? filter)
        : base(new BaseProcessor<Activity>[] { sender })
    {
        this.sender = sender;
        this.heartbeat = TimeSpan.FromMilliseconds(heartbeatMillis);
        this.filter = filter ?? (_ => true);
        this.timer = new Timer(_ => this.TickSafely(), null, TickMillis, TickMillis);
    }

    /// <summary>Spans that were not watched because 2,048 were open.</summary>
    public long Untracked => Interlocked.Read(ref this.untracked);

    /// <summary>Spans that come from outside, or take or send a message: what a server needs.</summary>
    public static bool IsWorkOrEntry(Activity span) =>
        span.ParentSpanId == default || span.HasRemoteParent
        || span.Kind == ActivityKind.Consumer || span.Kind == ActivityKind.Producer;

    public override void OnStart(Activity span)
    {
        if (!span.Recorded || !this.IsWanted(span))
        {
            return;
        }
        if (this.open.Count >= MaxOpen)
        {
            Interlocked.Increment(ref this.untracked);
            return;
        }
        // Here and not when it is first sent: then its end could come between, and would be no end.
        span.SetTag(OpenTag, true);
        span.SetTag(HeartbeatTag, (long)this.heartbeat.TotalMilliseconds);
        this.open[span.SpanId] = new OpenSpan(span);
    }

    /// <summary>Called by the SDK when a span has ended, before the processors after this one.</summary>
    public override void OnEnd(Activity span)
    {
        if (this.open.TryRemove(span.SpanId, out _))
        {
            span.SetTag(OpenTag, null); // removes it
            span.SetTag(HeartbeatTag, null);
        }
    }

    protected override bool OnShutdown(int timeoutMilliseconds)
    {
        this.timer.Dispose();
        return base.OnShutdown(timeoutMilliseconds);
    }

    private bool IsWanted(Activity span)
    {
        try
        {
            return this.filter(span);
        }
        catch (Exception)
        {
            return false; // it would reach the code that starts the span
        }
    }

    private void TickSafely()
    {
        if (Interlocked.Exchange(ref this.isTicking, 1) == 1)
        {
            return; // one request at a time: a slow collector only makes it less fresh
        }
        try
        {
            this.Tick();
        }
        catch (Exception)
        {
            // A throw from a timer ends the process; the next tick says what this one did not.
        }
        finally
        {
            Interlocked.Exchange(ref this.isTicking, 0);
        }
    }

    private void Tick()
    {
        var batch = new List<Activity>();
        foreach (var pair in this.open)
        {
            var one = pair.Value;
            var now = one.Age.Elapsed;
            if (now < After || batch.Count >= MaxPerTick)
            {
                continue;
            }
            var isDue = one.SentAt == null || now - one.SentAt >= this.heartbeat;
            if (!isDue && now - one.SentAt < Change)
            {
                continue;
            }
            var says = Says(one.Span);
            if (!isDue && says == one.Said)
            {
                continue;
            }
            one.Said = says;
            one.SentAt = now;
            batch.Add(one.Span);
        }
        if (batch.Count == 0)
        {
            return;
        }
        // The exporter's own request must be no span.
        using (SuppressInstrumentationScope.Begin())
        {
            this.sender.Send(batch.ToArray());
        }
    }

    private static int Says(Activity span)
    {
        var hash = (span.DisplayName.GetHashCode() * 31) + (int)span.Status;
        foreach (var tag in span.TagObjects)
        {
            hash = (hash * 31) + tag.Key.GetHashCode();
            hash = (hash * 31) + (tag.Value?.GetHashCode() ?? 0);
        }
        foreach (var _ in span.Events)
        {
            hash++;
        }
        return hash;
    }

    /// <summary>Has the exporter, which gets its resource only as part of an export processor.</summary>
    private sealed class Sender : BaseExportProcessor<Activity>
    {
        public Sender(BaseExporter<Activity> exporter)
            : base(exporter)
        {
        }

        public void Send(Activity[] spans) => this.exporter.Export(new Batch<Activity>(spans, spans.Length));

        protected override void OnExport(Activity span)
        {
            // The ends are sent by another processor.
        }
    }

    private sealed class OpenSpan
    {
        public readonly Activity Span;
        public readonly Stopwatch Age = Stopwatch.StartNew();
        public TimeSpan? SentAt;
        public int Said;

        public OpenSpan(Activity span) => this.Span = span;
    }
}
