"""Logs like Madrox: system logs, audit events with their fields in `extra`, and a logger for each instance. Independent of
Tailgate."""

import json
import logging
import threading

logger = logging.getLogger("orchestrator.instance_manager")
audit = logging.getLogger("orchestrator.audit")


def log_audit_event(event_type: str, instance_id: str | None = None, details: dict | None = None, **fields) -> None:
    extra = {"event_type": event_type, "instance_id": instance_id, "details": details or {}, **fields}
    audit.info(event_type, extra=extra)


class InstanceLogger(logging.LoggerAdapter):
    """Adds the instance to each record."""

    def process(self, msg, kwargs):
        return msg, {**kwargs, "extra": {**kwargs.get("extra", {}), **self.extra}}


def get_instance_logger(instance_id: str, name: str) -> InstanceLogger:
    instance_logger = logging.getLogger(f"instance.{instance_id}")
    instance_logger.setLevel(logging.DEBUG)
    instance_logger.propagate = False
    instance_logger.handlers.clear()
    return InstanceLogger(instance_logger, {"instance_id": instance_id, "instance_name": name})


class InstanceManager:
    def spawn_instance(self, instance_id: str, role: str) -> None:
        logger.debug("Looking for a slot")
        logger.info("Instance %s spawned successfully", instance_id, extra={"instance_id": instance_id})
        log_audit_event("instance_spawn", instance_id, {"role": role, "model": None, "enable_madrox": True})

    def receive_message(self, instance_id: str, message: str) -> None:
        fields = {"event_type": "communication", "direction": "inbound", "content": message}
        get_instance_logger(instance_id, "worker").info("Communication: inbound reply", extra=fields)
        logger.warning("High memory usage detected", extra={"memory_mb": 512})
        try:
            json.loads(message)
        except ValueError:
            logger.error("The message is not JSON", exc_info=True, extra={"instance_id": instance_id})

    def terminate_instance(self, instance_id: str) -> None:
        log_audit_event("instance_terminate", instance_id, {"force": False, "total_cost": 0.05}, final_state="terminated")


def work() -> None:
    manager = InstanceManager()
    manager.spawn_instance("abc-123", role="general")
    receiver = threading.Thread(target=manager.receive_message, args=("abc-123", "{"))
    receiver.start()
    receiver.join()
    manager.terminate_instance("abc-123")
