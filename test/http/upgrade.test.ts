import { createServer } from "node:http";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { expect, onTestFinished, test } from "vitest";
import { UpgradeTable } from "../../src/http/server/routes.ts";
import { handshake } from "../harness/http-server.ts";

test("answers upgrades to other protocols 400 on a Node that cannot decline them", async () => {
  const upgrades = new UpgradeTable(console as never);
  upgrades.add("/ws/logs", (_request, socket) => socket.destroy());
  const server = createServer();
  server.on("upgrade", (request, socket, head) =>
    upgrades.handle(request, socket, head, undefined),
  );
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  const socket = connect((server.address() as { port: number }).port, "127.0.0.1");
  socket.write(handshake("/ws/logs", { Host: "localhost", Upgrade: "h2c" }));
  expect(await text(socket)).toMatch(
    /^HTTP\/1.1 400 Bad Request\r\n[^]*\r\n\r\nThe only supported upgrade is WebSocket.\n$/,
  );
});
