// A program whose one long span is watched while it is open; the test steers it by lines.
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"emitterapp/livespans"
)

func exporter(ctx context.Context) *otlptrace.Exporter {
	made, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(os.Getenv("TRACES_URL")))
	if err != nil {
		log.Fatal(err)
	}
	return made
}

func main() {
	ctx := context.Background()
	heartbeat, _ := strconv.Atoi(os.Getenv("HEARTBEAT_MS"))
	options := livespans.Options{Heartbeat: time.Duration(heartbeat) * time.Millisecond}
	live := livespans.New(exporter(ctx), options)
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "go"), attribute.String("nexus.project.id", "alpha"))),
		sdktrace.WithBatcher(exporter(ctx)),
		sdktrace.WithSpanProcessor(live),
	)
	tracer := provider.Tracer("app")
	around, root := tracer.Start(ctx, "import")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		command, text, _ := strings.Cut(lines.Text(), " ")
		switch command {
		case "rename":
			root.SetName(text)
		case "short":
			for range 100 {
				_, span := tracer.Start(around, "execute_tool maps", trace.WithAttributes(
					attribute.String("gen_ai.operation.name", "execute_tool"),
					attribute.String("gen_ai.tool.name", "maps")))
				span.End()
			}
		case "many":
			for range 10_000 {
				tracer.Start(around, "execute_tool open", trace.WithAttributes(
					attribute.String("gen_ai.operation.name", "execute_tool"),
					attribute.String("gen_ai.tool.name", "open")))
			}
			fmt.Println(live.Untracked())
		case "end":
			root.SetStatus(codes.Error, "no such school")
			root.End()
			if err := provider.Shutdown(ctx); err != nil {
				log.Fatal(err)
			}
			return
		}
	}
}
