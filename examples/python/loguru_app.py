"""loguru: bound values become fields."""

import logging

from loguru import logger

from tailgate_logging import stream_to_tailgate

RESERVED = vars(logging.makeLogRecord({})).keys() | {"message", "asctime"}


def to_tailgate(message) -> None:
    """A loguru sink. The bound value `logger` names the logger; the default is the module's name."""
    record = message.record
    extra = {f"extra_{key}" if key in RESERVED else key: value for key, value in record["extra"].items()}
    target = logging.getLogger(extra.pop("logger", record["name"]))
    level, file, exception = record["level"], record["file"], record["exception"]
    exc_info = exception and (exception.type, exception.value, exception.traceback)
    call = (target.name, level.no, file.path, record["line"], record["message"], (), exc_info, record["function"])
    handler.handle(target.makeRecord(*call, extra))


handler = stream_to_tailgate("worker")
logger.add(to_tailgate, level="INFO")

log = logger.bind(logger="worker.orders")
audit = logger.bind(logger="orchestrator.audit")

with logger.contextualize(order_id=17):
    log.warning("High memory usage detected", memory_mb=512)
    log.success("Order {} paid", 17)
    try:
        {}["price"]
    except KeyError:
        log.exception("Order failed")
    audit.bind(event_type="order_canceled", reason="no price").info("order_canceled")
