/** Posts records to a gateway as OTLP/JSON, one a message, and answers the status. */
export async function postMessages(
  url: string,
  messages: readonly string[],
  { logger = "orchestrator.server" } = {},
): Promise<number> {
  const logRecords = messages.map((message) => ({
    timeUnixNano: "1760347644339163000",
    severityNumber: 9,
    body: { stringValue: message },
  }));
  const response = await fetch(`${url}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({
      resourceLogs: [{ scopeLogs: [{ scope: { name: logger }, logRecords }] }],
    }),
  });
  return response.status;
}
