import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { LoggingManager } from "tailgate";
import { Workspace } from "../../harness/workspace.ts";
import { strictlyDecoded } from "../../encode/strict-request.ts";
import { answer, Peer, take, type Behaviour } from "./peer.ts";

/** A store that rejects a whole request if anything in it is invalid. */
const strict: Behaviour = (response, received) => {
  try {
    const isJson = received.headers["content-type"] === "application/json";
    if (isJson) checkIds(received.body.toString());
    else strictlyDecoded(received.body);
  } catch {
    return answer(400)(response, received);
  }
  return take(response, received);
};

function checkIds(json: string): void {
  for (const [id, name] of json.matchAll(/"(traceId|spanId)":"[^"]*"/g)) {
    const digits = name === "traceId" ? 32 : 16;
    if (id.length !== `"${name}":""`.length + digits) throw new Error(id);
  }
}

const CASES = ["01-hex-ids.pb", "01-hex-ids-one.pb", "02-invalid-utf8.pb"].map((name) =>
  readFileSync(new URL(`../../fixtures/cases/${name}`, import.meta.url)),
);

async function post(url: string, body: Uint8Array<ArrayBuffer>): Promise<void> {
  const headers = { "Content-Type": "application/x-protobuf" };
  const response = await fetch(`${url}/v1/logs`, { method: "POST", headers, body });
  expect(response.status).toBe(200);
}

test.each(["http/protobuf", "http/json"])(
  "a strict store accepts other senders' invalid records over %s at once",
  async (protocol) => {
    await using peer = await Peer.open();
    const verdicts: boolean[] = [];
    peer.behaviour = (response, received) => {
      const isTaken = strict(response, received);
      verdicts.push(isTaken);
      return isTaken;
    };
    await using workspace = await Workspace.create();
    const manager = await LoggingManager.start({
      port: 0,
      logDir: workspace.path("logs"),
      receivers: { otlp: { port: null } },
      exporters: { otlp: { endpoint: peer.url, protocol } },
      registerGlobally: false,
      write: () => {},
    });
    for (const body of CASES) await post(manager.url, body);
    await manager.flush();
    await manager.stop();
    expect(verdicts.every(Boolean)).toBe(true);
    expect(verdicts.length).toBeLessThanOrEqual(CASES.length);
    expect(peer.records).toHaveLength(1002);
    expect(peer.messages).toContain("before-\ufffd\ufffd-after");
    expect(peer.records.filter(({ traceId }) => traceId !== "")).toEqual([]);
  },
);
