package com.example;

import io.opentelemetry.instrumentation.logback.appender.v1_0.OpenTelemetryAppender;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.autoconfigure.AutoConfiguredOpenTelemetrySdk;
import java.util.Map;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Logs with SLF4J to the console and to Tailgate. */
public class Orchestrator {
  private static final Logger logger = LoggerFactory.getLogger("orchestrator.instance_manager");
  private static final Logger audit = LoggerFactory.getLogger("orchestrator.audit");

  public static void main(String[] args) {
    startLogging();

    logger.atInfo().addKeyValue("instance_id", "abc-123").log("Instance spawned");
    logger.atWarn().addKeyValue("memory_mb", 512).log("High memory usage detected");
    try {
      Integer.parseInt("not a number");
    } catch (NumberFormatException error) {
      logger.error("Message rejected", error);
    }
    audit
        .atInfo()
        .addKeyValue("event_type", "instance_spawn")
        .addKeyValue("instance_id", "abc-123")
        .addKeyValue("role", "general")
        .log("Instance abc-123 spawned");
  }

  /** Connects the appender of logback.xml to the gateway. Environment variables override these settings. */
  private static void startLogging() {
    OpenTelemetrySdk sdk =
        AutoConfiguredOpenTelemetrySdk.builder()
            .addPropertiesSupplier(
                () ->
                    Map.of(
                        "otel.exporter.otlp.protocol", "http/protobuf",
                        "otel.metrics.exporter", "none",
                        "otel.traces.exporter", "none"))
            .build()
            .getOpenTelemetrySdk();
    OpenTelemetryAppender.install(sdk);
  }
}
