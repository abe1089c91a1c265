"""Streams to Tailgate, over OTLP, what an orchestrator logs. Its logging calls stay as they are."""

import atexit
import logging
import os
import threading
import time

from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

# OTEL_EXPORTER_OTLP_ENDPOINT says where to; else it is port 4318 of this machine, and 4317 over gRPC.
if os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter

AT_EXIT_SECONDS_MAX = 5


def stream_to_tailgate(service: str, level: int = logging.NOTSET) -> None:
    """Call it once, behind the program's own setup of logging, which may remove the handlers that it finds.

    level: what is less severe is not sent, beside what the loggers hold back themselves.
    """
    provider = LoggerProvider(Resource.create({"service.name": service}))
    exporter = OTLPLogExporter()
    # Logging calls only fill the queue, and a thread of its own sends. Where it is full, the oldest record is dropped.
    processor = BatchLogRecordProcessor(exporter, schedule_delay_millis=200, max_queue_size=32_768)
    provider.add_log_record_processor(processor)
    handler = LoggingHandler(level, provider, log_code_attributes=True)

    # Not the root logger: what the exporter and its HTTP client log themselves would come back for ever.
    orchestrator = logging.getLogger("orchestrator")
    audit = logging.getLogger("orchestrator.audit")
    if orchestrator.level == logging.NOTSET:
        orchestrator.setLevel(logging.INFO)  # else the root's WARNING holds
    for logger in [orchestrator] if audit.propagate else [orchestrator, audit]:
        logger.handlers.insert(0, handler)  # first: filters of other handlers add to the record
    _give_up_at_exit(exporter)


def _give_up_at_exit(exporter: OTLPLogExporter) -> None:
    """Where no gateway answers, the SDK alone would hold the end of the program up for 30 seconds."""
    exiting = threading.Event()

    def give_up() -> None:
        exiting.wait()
        time.sleep(AT_EXIT_SECONDS_MAX)
        exporter.shutdown()

    # Started now, because from Python 3.12 on a thread cannot be started at exit.
    threading.Thread(target=give_up, name="tailgate-exit", daemon=True).start()
    atexit.register(exiting.set)  # runs before the provider's, which was registered before it
