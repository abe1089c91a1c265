#!/bin/sh
export OTEL_SERVICE_NAME=orchestrator
export OTEL_PYTHON_LOG_CODE_ATTRIBUTES=true # module, function and line
export OTEL_TRACES_EXPORTER=none OTEL_METRICS_EXPORTER=none
export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf # else gRPC, to port 4317
exec opentelemetry-instrument python3 plain.py
