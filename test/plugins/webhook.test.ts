import { createHmac } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { batchOf, exporterContract, testHost, type TestHost } from "tailgate/testing";
import {
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  onTestFinished,
  test,
  vi,
} from "vitest";
import webhook from "../../plugins/webhook.ts";
import { signatureHeaders } from "../../plugins/webhook/signature.ts";
import { fillTemplate } from "../../plugins/webhook/template.ts";
import { RetryLaterError, type Exporter, type LogRecord } from "tailgate/plugin";
import { WebhookReceiver } from "./webhook/receiver.ts";

const NEVER = new AbortController().signal;

const SECRET = `whsec_${Buffer.alloc(32, 1).toString("base64")}`;
const OLD_SECRET = `whsec_${Buffer.alloc(24, 2).toString("base64")}`;

let receiver: WebhookReceiver;

beforeAll(() => {
  for (const name of Object.keys(process.env)) {
    if (/_proxy$/i.test(name)) vi.stubEnv(name, undefined);
  }
  return () => vi.unstubAllEnvs();
});
beforeEach(async () => {
  receiver = await WebhookReceiver.open();
});
afterEach(() => receiver[Symbol.asyncDispose]());

interface Opened {
  readonly host: TestHost;
  readonly exporter: Exporter;
  write(...records: Partial<LogRecord>[]): Promise<unknown>;
}

/** Opens the exporter without delivery; `write` appends the records to the journal first. */
async function opened(options: Readonly<Record<string, unknown>> = {}): Promise<Opened> {
  const host = await testHost("webhook");
  onTestFinished(() => host.close());
  const given = webhook.options.parse({ url: receiver.url, ...options });
  const exporter = await webhook.open(given, host);
  onTestFinished(() => exporter.close?.(NEVER));
  return {
    host,
    exporter,
    write: async (...records) => {
      const batch = batchOf(records);
      await host.journal.append(batch);
      return exporter.write(batch, NEVER);
    },
  };
}

function messages(...bodies: string[]): Partial<LogRecord>[] {
  return bodies.map((body) => ({ body }));
}

interface SentRecord {
  readonly id: string;
  readonly type: string;
  readonly data: { readonly message: string };
}

describe("webhook fulfills the exporter contract", () => {
  const cases = exporterContract(() => ({
    definition: webhook,
    options: { url: receiver.url, max_records: 2 },
    durable: true,
    connect: async () => () =>
      (receiver.bodies as SentRecord[][]).flat().map(({ data }) => data.message),
  }));
  test.each(cases)("$name", (given) => given.run());
});

test("a batch is a list of envelopes with ids, split by records and by bytes", async () => {
  const { host, write } = await opened({ url: `${receiver.url}/in?key=1`, max_records: 3 });
  await write(...messages("1", "2", "3", "4"));
  const batch = host.journal.readFrom(1)!;
  const sent = [0, 1, 2, 3].map((index) => ({
    id: host.journal.uidOf(index + 1),
    ...batch.envelope(index),
  }));
  expect(receiver.bodies).toEqual([sent.slice(0, 3), sent.slice(3)]);
  expect(receiver.requests[0]).toMatchObject({
    url: "/in?key=1",
    headers: {
      "content-type": "application/json",
      "user-agent": "tailgate",
      "webhook-id": `${sent[0]!.id}-${sent[2]!.id}`,
    },
  });
  expect(receiver.requests[1]!.headers["webhook-id"]).toBe(sent[3]!.id);

  const small = await opened({ max_batch_bytes: 1 });
  await small.write(...messages("1", "2"));
  expect(receiver.bodies.slice(2)).toMatchObject([[{ data: {} }], [{ data: {} }]]);
});

test("the mode each sends one envelope in each request", async () => {
  const { write } = await opened({ mode: "each" });
  await write(...messages("1", "2"));
  expect(receiver.bodies).toMatchObject([{ data: { message: "1" } }, { data: { message: "2" } }]);
});

test("a body has placeholders for all that an envelope has", async () => {
  const body = {
    text: "{level} {logger}: {message} ({attributes.missing}{function})",
    fields: [{ whole: "{attributes.count}", missing: "{attributes.missing}", all: "{attributes}" }],
    nested: "{attributes.details.role} {attributes.dotted.name} {attributes.details}",
    braces: "{{message}} {",
    number: 7,
  };
  const { write } = await opened({ body });
  const attributes = new Map<string, LogRecord["body"]>([
    ["count", 3],
    ["dotted.name", "n"],
    ["details", new Map([["role", "worker"]])],
  ]);
  await write({ body: 'a "quoted" <b>\n', severityNumber: 17, attributes });
  const all = { count: 3, "dotted.name": "n", details: { role: "worker" } };
  expect(receiver.bodies).toEqual([
    {
      text: 'ERROR orchestrator.server: a "quoted" <b>\n ()',
      fields: [{ whole: 3, missing: null, all }],
      nested: 'worker n {"role":"worker"}',
      braces: "{message} {",
      number: 7,
    },
  ]);
});

test("a text is sent as it is, cut and escaped as the options say", async () => {
  const body = "<{action}> {message} {attributes.instance_id}";
  const { write } = await opened({ body, escape: "html", max_characters: 9 });
  await write({
    body: "<!channel> & more",
    scope: { name: "orchestrator.audit", version: "", attributes: new Map() },
    attributes: new Map([
      ["event_type", "stop"],
      ["instance_id", "i-1"],
    ]),
  });
  expect(receiver.requests).toMatchObject([
    {
      headers: { "content-type": "text/plain; charset=utf-8" },
      body: "<stop> &lt;!channe… i-1",
    },
  ]);
});

test("a message of any text arrives unchanged", () => {
  const options = { charactersMax: 1000, escapesHtml: false };
  const template = { text: "> {message} <", whole: "{message}" };
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (message) => {
      const data = { timestamp: "", level: "INFO", logger: "l", message } as const;
      const envelope = { type: "audit_log", data } as const;
      const filled = fillTemplate(template, { id: "1", sequence: 1, envelope }, options);
      expect(JSON.parse(filled)).toEqual({ text: `> ${message} <`, whole: message });
    }),
  );
});

test("requests are signed as of Standard Webhooks", () => {
  // Computed with the Python package standardwebhooks 1.0.0.
  const content = { id: "msg_p5jXN8AQM9LWM0D4loKWxJek", body: Buffer.from('{"test": 2432232314}') };
  const secret = Buffer.from("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "base64");
  expect(signatureHeaders(content, [secret], 1_614_265_330_000)).toEqual({
    "webhook-id": content.id,
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
  });
});

test("a secret is replaced in its file, and both sign in between", async () => {
  const { host } = await opened();
  const file = join(host.logDir, "secret");
  const signatures = (): string[] => {
    const { headers, body } = receiver.requests.at(-1)!;
    const content = `${String(headers["webhook-id"])}.${String(headers["webhook-timestamp"])}.${body}`;
    const known = [OLD_SECRET, SECRET].map((secret) => {
      const key = Buffer.from(secret.slice("whsec_".length), "base64");
      return `v1,${createHmac("sha256", key).update(content).digest("base64")}`;
    });
    const sent = String(headers["webhook-signature"]).split(" ");
    return sent.map((one) => ["old", "new"][known.indexOf(one)] ?? "unknown");
  };
  await writeFile(file, OLD_SECRET);
  const { write } = await opened({ secret_file: file });
  await write(...messages("1"));
  expect(signatures()).toEqual(["old"]);
  await writeFile(file, `${OLD_SECRET}\n${SECRET}\n`);
  await write(...messages("2"));
  expect(signatures()).toEqual(["old", "new"]);
  await writeFile(file, "");
  await expect(write(...messages("3"))).rejects.toThrow("the file of secret_file is empty");
  expect(receiver.requests).toHaveLength(2);
});

test("a request is sent again with the same id, and what was accepted is not", async () => {
  const { exporter, host } = await opened({ max_records: 1 });
  const batch = batchOf(messages("1", "2"));
  await host.journal.append(batch);
  receiver.respond = ({ body }) => ({ status: body.includes('"2"') ? 503 : 200 });
  const failed = Promise.resolve(exporter.write(batch, NEVER));
  await expect(failed).rejects.toThrow(`${receiver.url} responded with 503 Service Unavailable`);
  receiver.respond = () => ({ status: 200 });
  await exporter.write(batch, NEVER);
  const ids = receiver.requests.map(({ headers }) => headers["webhook-id"]);
  expect(ids).toEqual([1, 2, 2].map((sequence) => host.journal.uidOf(sequence)));
});

test("Retry-After is followed", async () => {
  const { write } = await opened();
  receiver.respond = () => ({ status: 429, headers: { "Retry-After": "7" } });
  const error = await write(...messages("1")).catch((reason: unknown) => reason);
  expect(RetryLaterError.is(error) && error.retryAfterMs).toBe(7000);
});

test("redirects are not followed", async () => {
  const { write } = await opened({ headers: { Authorization: "Bearer t" } });
  receiver.respond = () => ({ status: 307, headers: { Location: `${receiver.url}/other` } });
  await expect(write(...messages("1"))).rejects.toThrow("redirects are not followed");
  expect(receiver.requests).toHaveLength(1);
});

test("a rejected record is isolated, dropped, counted and logged; credentials are not", async () => {
  const url = `${receiver.url.replace("//", "//user:hunter2@")}/services/hidden?key=hidden`;
  const { write, host } = await opened({ url, headers: { "X-Key": "hidden" } });
  receiver.respond = ({ body }) => ({
    status: body.includes("bad") ? 422 : 204,
    body: "invalid_payload",
  });
  expect(await write(...messages("1", "2", "bad", "3"))).toEqual({
    dropped: { refused: 1, rejected: 0 },
  });
  expect(receiver.requests[0]!.headers).toMatchObject({
    authorization: `Basic ${Buffer.from("user:hunter2").toString("base64")}`,
    "x-key": "hidden",
  });
  const accepted = receiver.requests.filter(({ body }) => !body.includes("bad"));
  const sent = accepted.flatMap(({ body }) => JSON.parse(body) as SentRecord[]);
  expect(sent.map(({ data }) => data.message)).toEqual(["1", "2", "3"]);
  const lines = host.lines.join("\n");
  expect(lines).toContain(
    `${receiver.url} rejected 1 records permanently. First: sequence 3, 422 Unprocessable Entity: invalid_payload`,
  );
  expect(lines).not.toMatch(/hidden|hunter2/);
});

test("the plan tells where it sends, without the path, and finds what is wrong", () => {
  const plan = (options: object) => webhook.plan!(webhook.options.parse({ url, ...options }));
  const url = "https://hooks.example.com/services/hidden";
  expect(plan({})).toMatchObject({
    targets: ["https://hooks.example.com"],
    effective: {
      url: { value: "https://hooks.example.com/********" },
      mode: { value: "batch", source: "default" },
    },
  });
  expect(plan({ body: "{message}" })).toMatchObject({ effective: { mode: { value: "each" } } });
  expect(() => plan({ secret: "hidden" })).toThrow(/^secret is not a secret; expected whsec_/);
  expect(() => plan({ secret: SECRET, secret_file: "f" })).toThrow("cannot be combined");
  expect(() => plan({ secret_file: "/nowhere" })).toThrow("secret_file cannot be read (ENOENT)");
  expect(() => plan({ headers: { "a b": "c" } })).toThrow("option headers: header 1");
  expect(() => plan({ client_key: "/nowhere" })).toThrow("client_key cannot be read");
  expect(() => plan({ body: { list: ["{levl}"] } })).toThrow("{levl} is not a placeholder");
  expect(() => plan({ body: "{message}", mode: "batch" })).toThrow("cannot be combined");
});
