"""Sends the log records of a Python program to Tailgate over OTLP. Its logging calls stay as they are."""

import atexit
import logging
import os
import threading
import time

import requests
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import SERVICE_NAME, Resource

IS_GRPC = os.getenv("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", os.getenv("OTEL_EXPORTER_OTLP_PROTOCOL")) == "grpc"
if IS_GRPC:
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
else:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

AT_EXIT_SECONDS_MAX = 5


def stream_to_tailgate(service: str, *loggers: str, level: int = logging.NOTSET) -> "TailgateHandler":
    """Starts sending records. Call it once in each process, before or after logging is configured.

    service: the name of the service, unless the environment sets one.
    loggers: the loggers to send, including their children; the default is all.
    level: the minimum level, in addition to the levels of the loggers.
    """
    exporter = _exporter()
    # Logging calls append to a queue, and a thread sends the batches. When the queue is full, the oldest record is dropped.
    processor = BatchLogRecordProcessor(
        exporter,
        schedule_delay_millis=_default(200, "OTEL_BLRP_SCHEDULE_DELAY"),
        max_queue_size=_default(32_768, "OTEL_BLRP_MAX_QUEUE_SIZE"),
    )
    provider = LoggerProvider(_resource(service))
    provider.add_log_record_processor(processor)
    handler = TailgateHandler(level, provider, log_code_attributes=True)
    handler.setFormatter(_Message())
    _attach(handler, loggers)
    _give_up_at_exit(exporter)
    return handler


class TailgateHandler(LoggingHandler):
    def emit(self, record: logging.LogRecord) -> None:
        """Reports errors on stderr, as `logging` does. LoggingHandler would raise them into the logging call."""
        try:
            super().emit(record)
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Does nothing: `logging` calls it at exit, when Python 3.12 can no longer start LoggingHandler's thread."""

    def force_flush(self) -> None:
        """Waits until the queue has been sent or the timeout expires."""
        self._logger_provider.force_flush()


class _Message(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Escapes lone surrogates, which file names can contain: the exporter drops a whole batch for one of them."""
        return record.getMessage().encode(errors="backslashreplace").decode()


def _exporter() -> OTLPLogExporter:
    timeout = _default(60, "OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT")
    if IS_GRPC:
        return OTLPLogExporter(timeout=timeout)
    session = requests.Session()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=session.close)  # otherwise a child would send on its parent's connection
    return OTLPLogExporter(timeout=timeout, session=session)


def _attach(handler: logging.Handler, loggers: tuple[str, ...]) -> None:
    """Handles the records of all loggers, including those that do not propagate or whose handlers are replaced."""
    call_handlers = logging.Logger.callHandlers

    def is_sent(record: logging.LogRecord) -> bool:
        if record.levelno < handler.level or not is_instrumentation_enabled():
            return False  # the second: the HTTP client logs while it sends a batch; its records would cause another batch
        name = f"{record.name}."
        return not name.startswith("opentelemetry.") and (
            not loggers or any(name.startswith(f"{logger}.") for logger in loggers)
        )

    def send_and_call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
        if is_sent(record):
            handler.handle(record)  # first: filters of other handlers add to the record
        call_handlers(self, record)

    logging.Logger.callHandlers = send_and_call_handlers


def _resource(service: str) -> Resource:
    resource = Resource.create()
    if resource.attributes[SERVICE_NAME].startswith("unknown_service"):
        return resource.merge(Resource({SERVICE_NAME: service}))
    return resource


def _default(value: int, *variables: str) -> int | None:
    """Returns None if the environment sets a value, so that the SDK reads it."""
    return None if any(name in os.environ for name in variables) else value


def _give_up_at_exit(exporter: OTLPLogExporter) -> None:
    """Limits how long the program waits at exit for a gateway that does not respond. The SDK's limit is 30 seconds."""
    exiting = threading.Event()

    def give_up() -> None:
        exiting.wait()
        time.sleep(AT_EXIT_SECONDS_MAX)
        exporter.shutdown()

    # Started now: Python 3.12 and later start no threads at exit.
    threading.Thread(target=give_up, name="tailgate-exit", daemon=True).start()
    atexit.register(exiting.set)  # runs before the provider's own handler, which was registered earlier
