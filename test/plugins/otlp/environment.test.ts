import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import otlp from "../../../plugins/otlp.ts";
import spans from "../../../plugins/spans.ts";
import type { ExporterDefinition, Plan } from "tailgate/plugin";
import { Peer } from "./peer.ts";
import { Sending } from "./sending.ts";

beforeEach(() => {
  for (const name of Object.keys(process.env)) {
    if (/^OTEL_|_proxy$/i.test(name)) vi.stubEnv(name, undefined);
  }
});
afterEach(() => {
  vi.unstubAllEnvs();
});

/** Sets the variables, without their common prefix. */
function stub(variables: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(variables)) {
    vi.stubEnv(`OTEL_EXPORTER_OTLP_${name}`, value);
  }
}

async function planned(options: object, definition: ExporterDefinition = otlp): Promise<Plan> {
  return definition.plan!(definition.options.parse(options));
}

const endpoint = "https://127.0.0.1:1";

describe("an invalid variable fails the start, before and at opening, and shows no secret", () => {
  test.each([
    ["ENDPOINT", "secret.example:4318", "is not an http:// or https:// URL"],
    ["ENDPOINT", "http://me:secret@:4318", "is not an http:// or https:// URL"],
    ["LOGS_ENDPOINT", "grpc://secret", "is not an http:// or https:// URL"],
    ["HEADERS", "Authorization", ": header 1 does not have the form name=value"],
    ["HEADERS", "a=1,secret", ": header 2 does not have the form name=value; write a comma"],
    ["HEADERS", "my key=secret", ": header 1 does not start with a valid header name"],
    ["HEADERS", "=secret", ": header 1 does not start with a valid header name"],
    ["HEADERS", "a=secret%2", ": header 1 (a) is not percent-encoded UTF-8; write a plain % as"],
    ["HEADERS", "a=secret%FF", ": header 1 (a) is not percent-encoded UTF-8"],
    ["LOGS_HEADERS", "a=secret%0D%0AHost: x", ": header 1 (a) has a value with characters that"],
    ["LOGS_HEADERS", "a=secret%E2%82%AC", ": header 1 (a) has a value with characters that"],
    ["TIMEOUT", "10s", "is 10s; expected an integer from 0 to 2147483647, in milliseconds"],
    ["TIMEOUT", "-1", "expected an integer"],
    ["LOGS_TIMEOUT", "2147483648", "expected an integer"],
    ["COMPRESSION", "br", "is br; expected gzip or none"],
    ["LOGS_PROTOCOL", "grpc", "is grpc; expected http/protobuf or http/json"],
    ["CERTIFICATE", "/nowhere/secret.pem", "cannot be read (ENOENT); expected the path of a PEM"],
    ["CLIENT_KEY", "-----BEGIN PRIVATE KEY-----\nsecret", "cannot be read (ENOENT)"],
    ["LOGS_CLIENT_KEY", import.meta.filename, "the certificates are not valid"],
    ["CERTIFICATE", import.meta.filename, "the certificates are not valid"],
  ])("%s=%s", async (name, value, why) => {
    if (!name.endsWith("ENDPOINT")) stub({ ENDPOINT: endpoint });
    stub({ [name]: value });
    const errors = await Promise.all(
      [planned({}), Sending.open({})].map((opening) =>
        opening.then(
          () => expect.fail("It was accepted."),
          (error: unknown) => String(error),
        ),
      ),
    );
    expect(errors[0]).toBe(errors[1]);
    expect(errors[0]).toContain(`OTEL_EXPORTER_OTLP_${name}`);
    expect(errors[0]).toContain(why);
    expect(errors[0]).not.toContain("secret");
  });

  test("so does an option with headers that cannot be sent", async () => {
    await expect(planned({ endpoint, headers: { "my key": "secret" } })).rejects.toThrow(
      "option headers: header 1 does not start with a valid header name",
    );
    await expect(planned({ endpoint, headers: { a: "secret\n" } })).rejects.toThrow(
      "option headers (a) has a value with characters that are not allowed in headers",
    );
  });

  test("variables of another signal, and overridden ones, are ignored", async () => {
    stub({ TRACES_ENDPOINT: "nowhere", ENDPOINT: "nowhere", TRACES_HEADERS: "%", PROTOCOL: "x" });
    stub({ COMPRESSION: "br" });
    await planned({ endpoint, protocol: "http/json", compression: "gzip" });
    const opening = planned({ protocol: "http/json", compression: "gzip" }, spans);
    await expect(opening).rejects.toThrow(
      "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is not an http:// or https:// URL",
    );
  });
});

describe("variables", () => {
  test("are trimmed, and ignored if empty", async () => {
    await using peer = await Peer.open();
    stub({ ENDPOINT: ` ${peer.url} `, LOGS_ENDPOINT: " ", HEADERS: " a = 1 , , b=%20c%2C=; ," });
    stub({ COMPRESSION: " GZIP ", PROTOCOL: "\thttp/JSON", TIMEOUT: " 10000 ", CERTIFICATE: " " });
    await using sending = await Sending.open({});
    await sending.send("x");
    expect(peer.received).toMatchObject([
      {
        url: "/v1/logs",
        headers: {
          a: "1",
          b: "c,=;",
          "content-encoding": "gzip",
          "content-type": "application/json",
        },
      },
    ]);
  });

  test("for the signal override those for all, and options override both, in any case", async () => {
    await using peer = await Peer.open();
    stub({
      HEADERS: "Authorization=Bearer all,x-a=1",
      LOGS_HEADERS: "authorization=Bearer%20logs",
    });
    await using sending = await Sending.open({
      endpoint: peer.url.replace("//", "//me:pass@"),
      headers: { "X-A": "2" },
    });
    await sending.send("x");
    const { headers } = peer.received[0]!;
    expect(headers).toMatchObject({ authorization: "Bearer logs", "x-a": "2" });
  });

  test("OTEL_EXPORTER_OTLP_TIMEOUT of 0 is no limit", async () => {
    await using peer = await Peer.open();
    stub({ TIMEOUT: "0" });
    await using sending = await Sending.open({ endpoint: peer.url });
    await sending.send("x");
    expect(peer.messages).toEqual(["x"]);
  });

  test("are named as the sources of the effective values", async () => {
    stub({ ENDPOINT: "https://me:secret@collector:4318/base?key=1", COMPRESSION: "gzip" });
    stub({ TIMEOUT: "5000", HEADERS: "a=1" });
    vi.stubEnv("HTTPS_PROXY", "http://me:secret@proxy:3128");
    const { effective, notes, targets } = await planned({ headers: { b: "2" } });
    expect(effective).toEqual({
      endpoint: {
        value: "https://me:secret@collector:4318/base/v1/logs?key=1",
        source: "OTEL_EXPORTER_OTLP_ENDPOINT",
      },
      protocol: { value: "http/protobuf", source: "default" },
      compression: { value: "gzip", source: "OTEL_EXPORTER_OTLP_COMPRESSION" },
      headers: {
        value: { a: "1", b: "2" },
        source: "OTEL_EXPORTER_OTLP_HEADERS, option headers",
      },
    });
    expect(notes).toEqual([
      "Request timeout 5000 ms: OTEL_EXPORTER_OTLP_TIMEOUT",
      "Through the proxy http://proxy:3128/: HTTPS_PROXY",
    ]);
    expect(targets).toEqual(["https://collector:4318/base/v1/logs"]);
    const given = await planned({ endpoint: "http://a/v1/traces" }, spans);
    expect(given.effective?.["endpoint"]).toEqual({
      value: "http://a/v1/traces",
      source: "option endpoint",
    });
  });

  test("headers are decoded", async () => {
    const name = fc.stringMatching(/^[a-z0-9!#$&'*+.^_`|~-]{1,12}$/);
    const value = fc.stringMatching(/^[\t\x20-\x7e\x80-\xff]{0,20}$/);
    await fc.assert(
      fc.asyncProperty(fc.dictionary(name, value), async (headers) => {
        const encoded = Object.entries(headers).map(
          ([key, text]) => `${encodeURIComponent(key)}=${encodeURIComponent(text)}`,
        );
        stub({ HEADERS: encoded.join(",") });
        const { effective } = await planned({ endpoint });
        const read = effective?.["headers"]?.value ?? {};
        expect(new Map(Object.entries(read))).toEqual(new Map(Object.entries(headers)));
      }),
      { examples: [[Object.fromEntries([["__proto__", "a"]])]] },
    );
  });
});
