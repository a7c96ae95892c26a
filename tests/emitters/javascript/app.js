// A program whose one long span is watched while it is open; the test steers it by lines.
"use strict";

const readline = require("node:readline");
const { context, SpanStatusCode, trace } = require("@opentelemetry/api");
const { OTLPTraceExporter } = require("@opentelemetry/exporter-trace-otlp-proto");
const resources = require("@opentelemetry/resources");
const { BatchSpanProcessor, NodeTracerProvider } = require("@opentelemetry/sdk-trace-node");
const { LiveSpanProcessor } = require("./live-span-processor.js");

const url = process.env.TRACES_URL;
const live = new LiveSpanProcessor(new OTLPTraceExporter({ url }), {
  heartbeatMs: Number(process.env.HEARTBEAT_MS),
});
const sender = { "service.name": "javascript", "nexus.project.id": "alpha" };
const provider = new NodeTracerProvider({
  // SDK 1.x has a class instead.
  resource: resources.resourceFromAttributes?.(sender) ?? new resources.Resource(sender),
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter({ url })), live],
});
provider.register();
const tracer = trace.getTracer("app");
const root = tracer.startSpan("import");
const around = trace.setSpan(context.active(), root);

readline.createInterface({ input: process.stdin }).on("line", async (line) => {
  const [command, text] = line.split(" ");
  if (command === "rename") root.updateName(text);
  if (command === "short") {
    for (let number = 0; number < 100; number++) {
      const attributes = { "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "maps" };
      tracer.startSpan("execute_tool maps", { attributes }, around).end();
    }
  }
  if (command === "many") {
    for (let number = 0; number < 10_000; number++) {
      const attributes = { "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "open" };
      tracer.startSpan("execute_tool open", { attributes }, around);
    }
    console.log(live.stats.untracked);
  }
  if (command === "end") {
    root.setStatus({ code: SpanStatusCode.ERROR, message: "no such school" });
    root.end();
    await provider.shutdown();
    process.exit(0);
  }
});
