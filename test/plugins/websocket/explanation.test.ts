/**
 * A plain request to the WebSocket's path returns the status of a handshake, which browsers hide
 * from pages.
 */

import { expect, test } from "vitest";
import { WebSocketHarness, Client } from "../../harness/websocket.ts";

async function ask(harness: WebSocketHarness, query = "", method = "POST"): Promise<Response> {
  return fetch(harness.url(query).replace("ws", "http"), { method });
}

test.each(["GET", "POST"])(
  "if a handshake would be accepted, %s is answered 426 with the subprotocol",
  async (method) => {
    await using harness = await WebSocketHarness.start();
    const response = await ask(harness, "?level=INFO", method);
    expect(response.status).toBe(426);
    expect(response.headers.get("upgrade")).toBe("websocket");
    expect(response.headers.get("sec-websocket-protocol")).toBe("tailgate.v1");
    expect(await response.text()).toBe("Connect to this path with a WebSocket.\n");
  },
);

test("at the connection limit: 503, not counted as a rejected connection", async () => {
  await using harness = await WebSocketHarness.start({ options: { max_connections: 1 } });
  await Client.open(harness.url());
  const response = await ask(harness);
  expect(response.status).toBe(503);
  expect(response.headers.get("sec-websocket-protocol")).toBeNull();
  expect(await response.text()).toMatch(/^All 1 connections are in use\. /);
  expect(harness.metric("clients_refused")).toBe(0);
});

test("an invalid query: 400", async () => {
  await using harness = await WebSocketHarness.start();
  const response = await ask(harness, "?level=LOUD");
  expect(response.status).toBe(400);
  expect(await response.text()).toContain("level:LOUD");
});
