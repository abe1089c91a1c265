/** A plain request to the WebSocket's path is told what a handshake would be: browsers hide that from their pages. */

import { expect, test } from "vitest";
import { Rig, Viewer } from "../../harness/websocket.ts";

async function ask(rig: Rig, query = "", method = "POST"): Promise<Response> {
  return fetch(rig.url(query).replace("ws", "http"), { method });
}

test.each(["GET", "POST"])(
  "it would be taken: %s is answered 426 with the subprotocol",
  async (method) => {
    await using rig = await Rig.start();
    const response = await ask(rig, "?level=INFO", method);
    expect(response.status).toBe(426);
    expect(response.headers.get("upgrade")).toBe("websocket");
    expect(response.headers.get("sec-websocket-protocol")).toBe("tailgate.v1");
    expect(await response.text()).toBe("Connect to this path with a WebSocket.\n");
  },
);

test("all connections are taken: 503, and nobody is counted as refused", async () => {
  await using rig = await Rig.start({ options: { max_connections: 1 } });
  await Viewer.open(rig.url());
  const response = await ask(rig);
  expect(response.status).toBe(503);
  expect(response.headers.get("sec-websocket-protocol")).toBeNull();
  expect(await response.text()).toMatch(/^All 1 connections are in use\. /);
  expect(rig.metric("clients_refused")).toBe(0);
});

test("the query is not understood: 400", async () => {
  await using rig = await Rig.start();
  const response = await ask(rig, "?level=LOUD");
  expect(response.status).toBe(400);
  expect(await response.text()).toContain("level:LOUD");
});
