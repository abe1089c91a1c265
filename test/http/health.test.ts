import { describe, expect, test } from "vitest";
import { grantedAccess } from "../../src/auth/access.ts";
import { Authenticator } from "../../src/auth/authenticator.ts";
import type { Access } from "tailgate/plugin";
import { ask, HttpHarness } from "../harness/http-server.ts";

test("healthz answers ok while the event loop runs, ready or not", async () => {
  const harness = await new HttpHarness().open();
  harness.notReady = "the journal cannot be written";
  const { status, body, headers } = await ask(`${harness.url}/healthz`);
  expect(status).toBe(200);
  expect(headers["content-type"]).toBe("application/json; charset=utf-8");
  expect(JSON.parse(body)).toEqual({ status: "ok" });
});

describe("readyz", () => {
  test("is 200 while records are accepted; a component's last error is shown and changes nothing", async () => {
    const harness = new HttpHarness();
    harness.component({ id: "otlp", lastError: "connect ECONNREFUSED 127.0.0.1:4318" });
    harness.component({ id: "intake", kind: "intake" });
    await harness.open();
    const { status, body } = await ask(`${harness.url}/readyz`);
    expect(status).toBe(200);
    expect(JSON.parse(body)).toEqual({
      status: "ready",
      reason: null,
      components: [
        { id: "otlp", kind: "exporter", trouble: "connect ECONNREFUSED 127.0.0.1:4318" },
        { id: "intake", kind: "intake", trouble: null },
      ],
    });
  });

  test("is 503 with the reason while records cannot be accepted, and 200 again afterwards", async () => {
    const harness = await new HttpHarness().open();
    harness.notReady = "starting";
    const { status, body } = await ask(`${harness.url}/readyz`);
    expect(status).toBe(503);
    expect(JSON.parse(body)).toEqual({ status: "not_ready", reason: "starting", components: [] });
    harness.notReady = undefined;
    expect((await ask(`${harness.url}/readyz`)).status).toBe(200);
  });

  test("tells the text of an error only to those who may read everything", async () => {
    const tokens = { reader: ["read"], restricted: ["read:system"] };
    const accesses = new Map<string | undefined, Access>(
      Object.entries(tokens).map(([name, scopes]) => [name, grantedAccess(name, { scopes })]),
    );
    const authenticator = new Authenticator([
      { authenticate: ({ headers }) => accesses.get(headers.authorization) },
    ]);
    const harness = await new HttpHarness({ authenticator }).open();
    const reasonFor = async (authorization?: string): Promise<unknown> => {
      const { body } = await ask(`${harness.url}/readyz`, {
        headers: authorization === undefined ? {} : { authorization },
      });
      return JSON.parse(body).reason;
    };
    const text = "JOURNAL_REFUSED: EACCES: permission denied, mkdir '/srv/customers/acme/logs'";
    harness.notReady = text;
    expect(await reasonFor("reader")).toBe(text);
    expect(await reasonFor("restricted")).toBe("JOURNAL_REFUSED");
    expect(await reasonFor()).toBe("JOURNAL_REFUSED");
    harness.notReady = "starting";
    expect(await reasonFor()).toBe("starting");
  });
});
