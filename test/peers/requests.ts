import { randomBytes } from "node:crypto";

/** Posts an OTLP/JSON request; resolves with the status. */
export async function post(url: string, request: object): Promise<number> {
  const headers = { "Content-Type": "application/json" };
  const { status } = await fetch(url, { method: "POST", headers, body: JSON.stringify(request) });
  return status;
}

function resourceOf(service: string): object {
  return { attributes: [{ key: "service.name", value: { stringValue: service } }] };
}

/** Creates a request with a warning and an audit event of a service. */
export function logsOfWorker(service = "worker"): object {
  const warning = {
    severityNumber: 13,
    severityText: "WARNING",
    body: { stringValue: "High memory usage detected" },
    attributes: [{ key: "memory_mb", value: { intValue: "512" } }],
  };
  const event = {
    severityNumber: 9,
    body: { stringValue: "instance_spawn" },
    attributes: [{ key: "instance_id", value: { stringValue: "abc-123" } }],
  };
  const scopeLogs = [
    { scope: { name: "orchestrator.instance_manager" }, logRecords: [warning] },
    { scope: { name: "orchestrator.audit" }, logRecords: [event] },
  ];
  return { resourceLogs: [{ resource: resourceOf(service), scopeLogs }] };
}

/** Creates an audit event of the instance `abc-123`, logged in a span of that trace. */
export function instanceEvent(type: string, traceId: string): object {
  const fields = { event_type: type, instance_id: "abc-123", role: "general" };
  const event = {
    timeUnixNano: `${BigInt(Date.now()) * 1_000_000n}`,
    severityNumber: 9,
    body: { stringValue: type },
    attributes: Object.entries(fields).map(([key, stringValue]) => ({
      key,
      value: { stringValue },
    })),
    traceId,
    spanId: randomBytes(8).toString("hex"),
  };
  const scopeLogs = [{ scope: { name: "orchestrator.audit" }, logRecords: [event] }];
  return { resourceLogs: [{ scopeLogs }] };
}

/** Creates a span `spawn` of the service `worker` that takes 1.5 ms. */
export function spanOfWorker(traceId: string): object {
  const startNs = BigInt(Date.now()) * 1_000_000n;
  const span = {
    traceId,
    spanId: randomBytes(8).toString("hex"),
    name: "spawn",
    kind: 1,
    startTimeUnixNano: `${startNs}`,
    endTimeUnixNano: `${startNs + 1_500_000n}`,
  };
  const resource = resourceOf("worker");
  return { resourceSpans: [{ resource, scopeSpans: [{ spans: [span] }] }] };
}
