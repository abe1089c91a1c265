"""Confirmed audit events: audit() returns when the event is durable on the gateway."""

import json
import os
import time
import urllib.request
import uuid

ENDPOINT = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
SERVICE = os.environ.get("OTEL_SERVICE_NAME", "worker")


def audit(event_type: str, uid: str | None = None, **fields) -> str:
    """Returns the event's idempotency key. Raises OSError if the gateway does not confirm the event.

    uid: the key that a failed attempt used. The gateway stores events with the same key once.
    """
    uid = uid or str(uuid.uuid4())
    record = {
        "timeUnixNano": str(time.time_ns()),
        "severityText": "INFO",
        "body": _value(event_type),
        "attributes": _attributes({"log.record.uid": uid, "event_type": event_type, **fields}),
    }
    scope = {"scope": {"name": "orchestrator.audit"}, "logRecords": [record]}
    resource = {"attributes": _attributes({"service.name": SERVICE})}
    body = json.dumps({"resourceLogs": [{"resource": resource, "scopeLogs": [scope]}]}).encode()
    request = urllib.request.Request(f"{ENDPOINT}/v1/logs", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        answer = json.load(response)
    if answer.get("partialSuccess"):
        raise OSError(f"The gateway rejected {event_type}: {answer['partialSuccess']}")
    return uid


def _attributes(fields: dict) -> list[dict]:
    return [{"key": key, "value": _value(value)} for key, value in fields.items()]


def _value(value: object) -> dict:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": _attributes(value)}}
    if isinstance(value, (list, tuple)):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    return {} if value is None else {"stringValue": str(value)}


if __name__ == "__main__":
    uid = audit("order_canceled", order_id=17, details={"reason": "no price"})
    print(f"Stored with the key {uid}")
    audit("order_canceled", uid, order_id=17, details={"reason": "no price"})  # a retry: still one event
