import logging

from tailgate_logging import stream_to_tailgate

logging.basicConfig(level=logging.INFO)
stream_to_tailgate("worker")

logger = logging.getLogger("worker.orders")
audit = logging.getLogger("orchestrator.audit")

logger.warning("High memory usage detected", extra={"memory_mb": 512})
try:
    {}["price"]
except KeyError:
    logger.exception("Order failed", extra={"order_id": 17})
audit.info("order_canceled", extra={"event_type": "order_canceled", "order_id": 17})
