"""structlog through `logging`: the keys of an event become fields, and the console stays readable."""

import logging

import structlog

from tailgate_logging import stream_to_tailgate

RESERVED = vars(logging.makeLogRecord({})).keys() - {"exc_info", "stack_info"} | {"message", "asctime"}


def rename_reserved(_logger, _method, event):
    """Renames keys that `logging` reserves, such as `name`, to `extra_name`. It would raise KeyError."""
    return {f"extra_{key}" if key in RESERVED else key: value for key, value in event.items()}


timestamp = structlog.processors.TimeStamper(fmt="%H:%M:%S")
console = logging.StreamHandler()
console.setFormatter(
    structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.ExtraAdder(), timestamp],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.dev.ConsoleRenderer()],
    )
)
logging.basicConfig(level=logging.INFO, handlers=[console])
structlog.configure(
    processors=[
        structlog.stdlib.filter_by_level,
        structlog.contextvars.merge_contextvars,
        rename_reserved,
        structlog.stdlib.render_to_log_args_and_kwargs,  # last: passes the keys on as `extra`
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
)
stream_to_tailgate("worker")

log = structlog.get_logger("worker.orders")
audit = structlog.get_logger("orchestrator.audit")

structlog.contextvars.bind_contextvars(order_id=17)
log.warning("High memory usage detected", memory_mb=512)
try:
    {}["price"]
except KeyError:
    log.exception("Order failed")
audit.info("order_canceled", event_type="order_canceled", reason="no price")
