import static io.opentelemetry.api.common.AttributeKey.stringKey;

import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.context.Context;
import io.opentelemetry.exporter.otlp.http.trace.OtlpHttpSpanExporter;
import io.opentelemetry.sdk.resources.Resource;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.export.BatchSpanProcessor;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.concurrent.TimeUnit;

/** A program whose one long span is watched while it is open; the test steers it by lines. */
public final class App {
  private static OtlpHttpSpanExporter exporter() {
    return OtlpHttpSpanExporter.builder().setEndpoint(System.getenv("TRACES_URL")).build();
  }

  public static void main(String[] arguments) throws Exception {
    long heartbeatMillis = Long.parseLong(System.getenv("HEARTBEAT_MS"));
    Attributes resource =
        Attributes.of(
            stringKey("service.name"), "java", stringKey("nexus.project.id"), "alpha");
    LiveSpanProcessor live = new LiveSpanProcessor(exporter(), heartbeatMillis, span -> true);
    SdkTracerProvider provider =
        SdkTracerProvider.builder()
            .setResource(Resource.create(resource))
            .addSpanProcessor(BatchSpanProcessor.builder(exporter()).build())
            .addSpanProcessor(live)
            .build();
    Tracer tracer = provider.get("app");
    Span root = tracer.spanBuilder("import").startSpan();
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      String[] words = line.split(" ");
      if (words[0].equals("rename")) {
        root.updateName(words[1]);
      } else if (words[0].equals("short")) {
        for (int number = 0; number < 100; number++) {
          tracer
              .spanBuilder("execute_tool maps")
              .setParent(Context.root().with(root))
              .setAttribute("gen_ai.operation.name", "execute_tool")
              .setAttribute("gen_ai.tool.name", "maps")
              .startSpan()
              .end();
        }
      } else if (words[0].equals("many")) {
        for (int number = 0; number < 10_000; number++) {
          tracer
              .spanBuilder("execute_tool open")
              .setParent(Context.root().with(root))
              .setAttribute("gen_ai.operation.name", "execute_tool")
              .setAttribute("gen_ai.tool.name", "open")
              .startSpan();
        }
        System.out.println(live.getUntracked());
      } else if (words[0].equals("end")) {
        root.setStatus(StatusCode.ERROR, "no such school");
        root.end();
        provider.shutdown().join(10, TimeUnit.SECONDS);
        return;
      }
    }
  }
}
