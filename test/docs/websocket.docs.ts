/** Runs the examples of the WebSocket page, its session and its tables. */

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { WebSocket } from "ws";
import { startGateway as startInProcess } from "../harness/gateway.ts";
import { postMessages } from "../harness/otlp.ts";
import { Program } from "../harness/program.ts";
import { startSecured } from "../harness/secured-gateway.ts";
import { SubprotocolClient } from "../harness/subprotocol-client.ts";
import { Document, repositoryPath } from "./document.ts";
import { tableAfter } from "./table.ts";
import { startGateway, userDirectory } from "./user-directory.ts";

const page = await Document.read("docs/reference/websocket.md");

test("the plain client shows new records and why the stream ended", async () => {
  const workspace = await userDirectory();
  const { program, url } = await startGateway(workspace);
  const source = page.example("browser").replace("localhost:8001", new URL(url).host);
  await workspace.write("client.mjs", source);
  await postMessages(url, ["before"]);
  await using client = new Program(process.execPath, ["client.mjs"], { cwd: workspace.directory });
  await client.untilStdout(/^INFO orchestrator\.server before$/m);
  await postMessages(url, ["spawned"], { logger: "orchestrator.audit" });
  await client.untilStdout(/^AUDIT undefined undefined$/m);
  expect(await program.end()).toBe(0);
  await vi.waitFor(() => expect(client.stdout).toMatch(/^closed 1001 gateway is stopping$/m));
});

test("the resuming client gets the records of a gateway outage once", async () => {
  const workspace = await userDirectory();
  const first = await startGateway(workspace);
  const { host, port } = new URL(first.url);
  const source = page.example("resume").replace("localhost:8001", host);
  await workspace.write("client.js", source);
  await postMessages(first.url, ["before"]);
  await using client = new Program(process.execPath, ["client.js"], { cwd: workspace.directory });
  await client.untilStdout(/^INFO orchestrator\.server before$/m);
  expect(await first.program.end()).toBe(0);
  const second = await startGateway(workspace, port);
  await postMessages(second.url, ["after"]);
  await client.untilStdout(/^INFO orchestrator\.server after$/m);
  expect(client.stdout).toMatch(
    /^INFO orchestrator\.server before\nINFO orchestrator\.server after\n$/,
  );
});

/** The statuses of `/ws/logs` without a token, and with one whose connections are all in use. */
async function securedStatuses(): Promise<{ missing: number; limited: number }> {
  const { url, tokens } = await startSecured(
    { reader: { scopes: ["read"] } },
    { auth: "max_connections_per_principal: 1" },
  );
  const headers = tokens.bearer("reader");
  const client = new WebSocket(socketUrl({ url }), { headers });
  onTestFinished(() => client.terminate());
  await once(client, "open");
  const [missing, limited] = await Promise.all([
    fetch(`${url}/ws/logs`, { method: "POST" }),
    fetch(`${url}/ws/logs`, { method: "POST", headers }),
  ]);
  return { missing: missing.status, limited: limited.status };
}

function socketUrl({ url }: { readonly url: string }): string {
  return `${url.replace("http", "ws")}/ws/logs`;
}

test("the session on the page is a real one", async () => {
  const { url } = await startGateway(await userDirectory());
  for (const text of ["one", "two"]) await postMessages(url, [text], { logger: "app" });
  const client = await SubprotocolClient.open(socketUrl({ url }));
  const { epoch } = await client.until("hello");
  const lines = page.listings
    .find((listing) => listing.startsWith("< "))!
    .replaceAll("6ec76272-41ac-4aeb-a3cd-e3c5a6b87968", epoch)
    .trimEnd()
    .split("\n");
  const expected: string[] = [];
  const received = (): Promise<void> =>
    client.poll(() => expect(client.texts.length).toBeGreaterThanOrEqual(expected.length));
  for (const line of lines) {
    const text = line.slice(2);
    if (line.startsWith("> ")) {
      await received();
      client.send(text);
    } else expected.push(text);
    if (text === '{"type":"filter","version":2}') {
      await received();
      await postMessages(url, ["three"], { logger: "app" });
    }
  }
  await received();
  expect(client.texts).toEqual(expected);
  client.socket.close();
});

test("a plain request gets the status of the handshake", async () => {
  const { url } = await startInProcess({ max_connections: 1 });
  const script = page.example("websocket-why").replace("http://localhost:8001", url);
  const invalid = await Program.run("bash", ["-c", script.replace("-i", "-si")], { cwd: "/" });
  expect(invalid).toMatch(/^HTTP\/1.1 400 [^]*"level:LOUD" is invalid/);
  const foreign = await fetch(`${url}/ws/logs`, {
    method: "POST",
    headers: { "Sec-Fetch-Site": "cross-site" },
  });
  const free = await fetch(`${url}/ws/logs`, { method: "POST" });
  const client = new WebSocket(socketUrl({ url }));
  await once(client, "open");
  const full = await fetch(`${url}/ws/logs`, { method: "POST" });
  client.close();
  const { missing, limited } = await securedStatuses();
  const statuses = [400, missing, foreign.status, free.status, limited, full.status];
  const stated = tableAfter(page, "When the connection fails").map(([status]) => Number(status));
  expect(statuses).toEqual(stated);
});

describe("the connection is closed", () => {
  const codes = tableAfter(page, "Close codes");

  function codeOf(goodbye: string): number {
    return Number(codes.find(([, cell]) => cell === `\`${goodbye}\``)![0]);
  }

  test("with `misuse` after 100 invalid messages", async () => {
    const client = await SubprotocolClient.open(socketUrl(await startInProcess()));
    for (let count = 0; count < 100; count++) client.send("{");
    expect(await client.closed).toMatchObject({ code: codeOf("misuse") });
    expect(client.messages.at(-1)).toEqual({ type: "goodbye", reason: "misuse" });
  });

  test("after a message of more than 64 KiB, also of a plain client", async () => {
    const gateway = await startInProcess();
    for (const subprotocol of [[], ["tailgate.v1"]]) {
      const socket = new WebSocket(socketUrl(gateway), subprotocol);
      await once(socket, "open");
      socket.send("x".repeat((64 << 10) + 1));
      const [code] = (await once(socket, "close")) as [number];
      expect(code).toBe(1009);
    }
  });

  test("with `stopping` when the gateway stops", async () => {
    const gateway = await startInProcess();
    const client = await SubprotocolClient.open(socketUrl(gateway));
    await gateway.stop();
    expect(await client.closed).toMatchObject({ code: codeOf("stopping") });
    expect(client.messages.at(-1)).toEqual({ type: "goodbye", reason: "stopping" });
  });
});

test("each invalid message is rejected with its code", async () => {
  const gateway = await startInProcess();
  for (const [cell, codeCell] of tableAfter(page, "Errors")) {
    const client = await SubprotocolClient.open(socketUrl(gateway));
    onTestFinished(() => client.socket.close());
    const [, message, times] = /^`(.*)`( twice)?$/.exec(cell!)!;
    for (let count = times ? 2 : 1; count > 0; count--) client.send(message!);
    const { code } = await client.until("error");
    expect(codeCell).toContain(`\`${code}\``);
  }
});

test("query parameters subscribe at once; without any, only hello is sent", async () => {
  const gateway = await startInProcess();
  const silent = await SubprotocolClient.open(`${socketUrl(gateway)}?replay=0`);
  const subscribed = await SubprotocolClient.open(`${socketUrl(gateway)}?replay=1`);
  await subscribed.until("caught_up");
  expect(silent.messages.map(({ type }) => type)).toEqual(["hello"]);
  silent.socket.close();
  subscribed.socket.close();
});

describe("the tables have all", () => {
  const protocol = readFile(repositoryPath("src/wire/protocol.ts"), "utf8");

  function firstCells(heading: string): string[] {
    return tableAfter(page, heading).map(([cell]) => cell!.replaceAll("`", ""));
  }

  async function interfaces(union: string): Promise<string[]> {
    const text = await protocol;
    const [, names] = new RegExp(`export type ${union} =([^;]+);`).exec(text)!;
    return names!
      .split("|")
      .map((name) => name.trim())
      .filter((name) => name !== "")
      .map((name) => {
        const [, body] = new RegExp(`interface ${name}(?: extends \\w+)? \\{([^]*?)\\n\\}`).exec(
          text,
        )!;
        return /readonly type: "(\w+)"/.exec(body!)![1]!;
      });
  }

  test("messages", async () => {
    expect(firstCells("Messages of the client")).toEqual(await interfaces("ClientMessage"));
    expect(firstCells("Messages of the gateway")).toEqual(await interfaces("ServerMessage"));
  });

  test("reasons of gaps, errors and goodbyes", async () => {
    const text = await protocol;
    const union = (pattern: RegExp): string[] =>
      Array.from(pattern.exec(text)![1]!.matchAll(/"(\w+)"/g), ([, word]) => word!);
    expect(firstCells("Position and gaps")).toEqual(union(/reason: ("retention"[^;]+);/));
    const errors = tableAfter(page, "Errors").map(([, cell]) => /`(\w+)`/.exec(cell!)![1]!);
    expect(errors.toSorted()).toEqual(union(/code: ("MESSAGE_INVALID"[^;]+);/).toSorted());
    const goodbyes = tableAfter(page, "Close codes")
      .map(([, cell]) => cell!)
      .filter((cell) => cell.startsWith("`"));
    expect(goodbyes.map((cell) => cell.replaceAll("`", ""))).toEqual(
      union(/reason: ("stopping"[^;]+);/),
    );
  });
});
