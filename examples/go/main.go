// An orchestrator that logs with log/slog to its console and to Tailgate.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/sdk/log"
)

// startLogging connects to the gateway at OTEL_EXPORTER_OTLP_ENDPOINT. Call the returned function
// before the program ends: it sends the records that are still queued.
func startLogging() (stop func(), err error) {
	exporter, err := otlploggrpc.New(context.Background())
	if err != nil {
		return nil, err
	}
	provider := log.NewLoggerProvider(log.WithProcessor(log.NewBatchProcessor(exporter)))
	otel.SetLoggerProvider(provider)
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			slog.Error("Log records were lost", "error", err)
		}
	}, nil
}

// newLogger returns a logger that writes to the console and, under this name, to Tailgate.
func newLogger(name string) *slog.Logger {
	return slog.New(slog.NewMultiHandler(
		slog.NewTextHandler(os.Stderr, nil),
		otelslog.NewHandler(name, otelslog.WithSource(true)),
	))
}

func main() {
	stop, err := startLogging()
	if err != nil {
		slog.Error("Logging could not be set up", "error", err)
		os.Exit(1)
	}
	defer stop()

	logger := newLogger("orchestrator.instance_manager")
	logger.Info("Instance spawned", "instance_id", "abc-123")
	logger.Warn("High memory usage detected", "memory_mb", 512)
	logger.Error("Message rejected", "error", errors.New("not JSON"))

	audit := newLogger("orchestrator.audit")
	audit.Info("Instance abc-123 spawned",
		"event_type", "instance_spawn",
		"instance_id", "abc-123",
		"role", "general",
	)
}
