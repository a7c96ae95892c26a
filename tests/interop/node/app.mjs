// An agent of somebody else's, in Node: plain OpenTelemetry, nothing of ours.
import { SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";

const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ "service.name": "node-agent" }),
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
});
provider.register();
const tracer = trace.getTracer("app");
const run = (name, attributes, work) =>
  tracer.startActiveSpan(name, { attributes, kind: SpanKind.INTERNAL }, (span) => {
    work?.(span);
    span.end();
  });

run("plan a trip in Node", {}, () => {
  run("invoke_agent planner", { "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner" }, () => {
    run("chat", { "gen_ai.operation.name": "chat", "gen_ai.request.model": "m-1" });
    run("execute_tool maps", { "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "maps" }, (span) =>
      span.setStatus({ code: SpanStatusCode.ERROR, message: "no such street" }),
    );
  });
});
await provider.shutdown();
console.log("done");
