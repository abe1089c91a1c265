const RECORDS_A_REQUEST = 1000;

const FIRST_NANOS = 1_760_347_644_000_000_000n;
const MICRO_NANOS = 1000n;

/** Returns the message of the record with that number. */
export function messageOf(number: number): string {
  return `record ${number}`;
}

export function numbered(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, index) => messageOf(from + index));
}

/**
 * Posts records over OTLP/HTTP, a microsecond apart, in sequential requests; rejects at the first request that is not
 * accepted.
 */
export async function postNumbered(
  url: string,
  from: number,
  to: number,
  recordsARequest = RECORDS_A_REQUEST,
): Promise<void> {
  for (let first = from; first < to; first += recordsARequest) {
    const status = await postRequest(url, first, Math.min(to, first + recordsARequest));
    if (status !== 200) throw new Error(`The gateway answered ${status}`);
  }
}

/** Posts one request; resolves with the status, rejects if there is no response. */
export async function postRequest(url: string, from: number, to: number): Promise<number> {
  const logRecords = Array.from({ length: to - from }, (_, index) => recordOf(from + index));
  const response = await fetch(`${url}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({
      resourceLogs: [
        {
          resource: { attributes: [text("service.name", "orchestrator")] },
          scopeLogs: [{ scope: { name: "orchestrator.server" }, logRecords }],
        },
      ],
    }),
  });
  await response.arrayBuffer();
  return response.status;
}

function recordOf(number: number): object {
  const timeUnixNano = String(FIRST_NANOS + BigInt(number) * MICRO_NANOS);
  return {
    ...{ timeUnixNano, observedTimeUnixNano: timeUnixNano },
    ...{ severityNumber: 9, severityText: "INFO" },
    body: { stringValue: messageOf(number) },
    attributes: [
      text("instance_id", `instance-${number % 7}`),
      { key: "attempt", value: { intValue: String(number % 3) } },
    ],
  };
}

function text(key: string, stringValue: string): object {
  return { key, value: { stringValue } };
}
