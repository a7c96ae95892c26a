// Package livespans sends spans that are still open to otel-bridge, as snapshots without an end.
//
// Register it beside WithBatcher, which alone sends the ends, with an exporter of its own that points
// to otel-bridge: a trace backend would keep a snapshot as a broken span. README.md has the set-up.
package livespans

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	change    = time.Second // a change is sent this long after the last snapshot at the earliest
	maxEvents = 16
)

// Options of a Processor; zero values mean the defaults.
type Options struct {
	After      time.Duration                    // a shorter span is never sent; 500 ms
	Tick       time.Duration                    // 500 ms
	Heartbeat  time.Duration                    // the promise: three times this in silence is shown as stalled; 10 s
	MaxOpen    int                              // further spans are counted by Untracked; 2,048
	MaxPerTick int                              // 256: with Tick, 512 snapshots a second at most
	Filter     func(sdktrace.ReadOnlySpan) bool // nil: all; for servers WorkOrEntry
}

// WorkOrEntry passes spans that come from outside or take or send a message: what a server needs.
func WorkOrEntry(span sdktrace.ReadOnlySpan) bool {
	parent, kind := span.Parent(), span.SpanKind()
	return !parent.IsValid() || parent.IsRemote() || kind == trace.SpanKindConsumer || kind == trace.SpanKindProducer
}

// Processor is a SpanProcessor. Use New.
type Processor struct {
	options   Options
	exporter  sdktrace.SpanExporter
	mutex     sync.Mutex
	open      map[spanKey]*openSpan
	stop      context.CancelFunc
	stopped   chan struct{}
	untracked atomic.Int64
	failed    atomic.Int64
}

type spanKey struct {
	trace trace.TraceID
	span  trace.SpanID
}

type openSpan struct {
	span     sdktrace.ReadOnlySpan
	since    time.Time
	sent     time.Time
	said     said
	isWanted bool
}

// said is all of a span that can change; two equal ones need no second snapshot.
type said struct {
	name           string
	attributes     attribute.Distinct
	events, status int
}

// New starts a Processor that sends with an exporter of its own, which Shutdown ends.
func New(exporter sdktrace.SpanExporter, options Options) *Processor {
	setDefault(&options.After, 500*time.Millisecond)
	setDefault(&options.Tick, 500*time.Millisecond)
	setDefault(&options.Heartbeat, 10*time.Second)
	setDefault(&options.MaxOpen, 2048)
	setDefault(&options.MaxPerTick, 256)
	// More could not keep the promise, and would be shown as stalled while they run: after three times
	// as long, but not before 15 s.
	within := max(options.Heartbeat, 5*time.Second)
	options.MaxOpen = min(options.MaxOpen, options.MaxPerTick*max(1, int(within/options.Tick)))
	ctx, stop := context.WithCancel(context.Background())
	processor := &Processor{
		options: options, exporter: exporter, open: map[spanKey]*openSpan{},
		stop: stop, stopped: make(chan struct{}),
	}
	go processor.run(ctx)
	return processor
}

func setDefault[T int | time.Duration](value *T, standard T) {
	if *value <= 0 {
		*value = standard
	}
}

// Untracked is the number of spans that were not watched because MaxOpen were open.
func (p *Processor) Untracked() int64 { return p.untracked.Load() }

// Failed is the number of snapshots that could not be sent. They are not sent again: the next says more.
func (p *Processor) Failed() int64 { return p.failed.Load() }

// OnStart is called by the SDK.
func (p *Processor) OnStart(_ context.Context, span sdktrace.ReadWriteSpan) {
	if !span.SpanContext().IsSampled() {
		return
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if len(p.open) >= p.options.MaxOpen {
		if p.untracked.Add(1) == 1 {
			otel.Handle(fmt.Errorf("livespans: %d spans are open, further ones are not watched", p.options.MaxOpen))
		}
		return
	}
	p.open[keyOf(span)] = &openSpan{span: span, since: time.Now()}
}

// OnEnd is called by the SDK.
func (p *Processor) OnEnd(span sdktrace.ReadOnlySpan) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	delete(p.open, keyOf(span))
}

// ForceFlush has nothing to do: a snapshot is only as good as it is fresh.
func (p *Processor) ForceFlush(context.Context) error { return nil }

// Shutdown stops sending and ends the exporter.
func (p *Processor) Shutdown(ctx context.Context) error {
	p.stop()
	select {
	case <-p.stopped:
	case <-ctx.Done():
	}
	return p.exporter.Shutdown(ctx)
}

func (p *Processor) run(ctx context.Context) {
	defer close(p.stopped)
	ticker := time.NewTicker(p.options.Tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			p.tick(ctx, now)
		}
	}
}

func (p *Processor) tick(ctx context.Context, now time.Time) {
	defer func() {
		if cause := recover(); cause != nil { // such as of the application's own Filter
			p.failed.Add(1)
			otel.Handle(fmt.Errorf("livespans: %v", cause))
		}
	}()
	batch := p.due(now)
	if len(batch) == 0 {
		return
	}
	// Not as long as the exporter tries again by itself: the next snapshot says more.
	ctx, cancel := context.WithTimeout(ctx, p.options.Heartbeat)
	defer cancel()
	if p.exporter.ExportSpans(ctx, batch) != nil {
		p.failed.Add(int64(len(batch)))
	}
}

func (p *Processor) due(now time.Time) []sdktrace.ReadOnlySpan {
	var batch []sdktrace.ReadOnlySpan
	// Span methods take the span's own lock, and End holds that one while it calls OnEnd in older
	// SDKs. So they are called without our lock.
	for key, one := range p.older(now) {
		if !one.isWanted && p.options.Filter != nil && !p.options.Filter(one.span) {
			p.mutex.Lock()
			delete(p.open, key)
			p.mutex.Unlock()
			continue
		}
		one.isWanted = true
		isDue := now.Sub(one.sent) >= p.options.Heartbeat
		if (!isDue && now.Sub(one.sent) < change) || !one.span.EndTime().IsZero() {
			continue
		}
		says := read(one.span)
		if !isDue && says == one.said {
			continue
		}
		if len(batch) >= p.options.MaxPerTick {
			break
		}
		one.sent, one.said = now, says
		batch = append(batch, snapshot{one.span, p.options.Heartbeat})
	}
	return batch
}

func (p *Processor) older(now time.Time) map[spanKey]*openSpan {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	found := make(map[spanKey]*openSpan)
	for key, one := range p.open {
		if now.Sub(one.since) >= p.options.After {
			found[key] = one
		}
	}
	return found
}

func keyOf(span sdktrace.ReadOnlySpan) spanKey {
	ids := span.SpanContext()
	return spanKey{ids.TraceID(), ids.SpanID()}
}

func read(span sdktrace.ReadOnlySpan) said {
	// A copy, because NewSet sorts its argument in place.
	set := attribute.NewSet(append([]attribute.KeyValue(nil), span.Attributes()...)...)
	return said{span.Name(), set.Equivalent(), len(span.Events()), int(span.Status().Code)}
}

// snapshot is a span without an end, and with our two attributes, which the live span never has.
type snapshot struct {
	sdktrace.ReadOnlySpan
	heartbeat time.Duration
}

// EndTime is not time.Time{}: exporters up to 1.24 send that as the year 2339.
func (s snapshot) EndTime() time.Time { return time.Unix(0, 0) }

func (s snapshot) Attributes() []attribute.KeyValue {
	known := s.ReadOnlySpan.Attributes()
	all := make([]attribute.KeyValue, len(known), len(known)+2)
	copy(all, known)
	return append(all,
		attribute.Bool("nexus.span.open", true),
		attribute.Int64("nexus.span.beat_ms", s.heartbeat.Milliseconds()))
}

func (s snapshot) Events() []sdktrace.Event {
	events := s.ReadOnlySpan.Events()
	return events[max(0, len(events)-maxEvents):]
}
