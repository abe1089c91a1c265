import * as fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import attributes from "../../plugins/attributes.ts";
import { resolveConfig } from "../../src/config/config.ts";
import { createRecord, type ProcessorHost, type Value, type ValueMap } from "tailgate/plugin";
import { extras, ProcessingGateway, textRecord } from "./processors/processing-gateway.ts";
import { processed } from "./processors/view.ts";

const RESOURCE = [
  { key: "host.name", value: { stringValue: "db-1" } },
  { key: "service.name", value: { stringValue: "shop" } },
];

const ACTIONS = [
  { key: "environment", action: "insert", value: "prod" },
  { key: "status", action: "update", value: 200 },
  { key: "host", action: "upsert", from_resource: "host.name" },
  { key: "region", action: "insert", from_env: "TEST_REGION" },
  { key: "user_id", action: "rename", from_attribute: "userId" },
  { key: "tenant", action: "copy", from_attribute: "customer" },
  { key: "http.*.raw", action: "delete" },
  { key: "secret", action: "delete" },
];

describe("the processor attributes", () => {
  it("takes no event out of the audit trail with the attribute that names its logger", async () => {
    await using gateway = await ProcessingGateway.start({
      "attributes/renamed": {
        filter: "message:renamed",
        actions: [{ key: "name", action: "rename", from_attribute: "logger" }],
      },
      "attributes/deleted": {
        filter: "message:deleted",
        actions: [{ key: "logger*", action: "delete" }],
      },
    });
    const records = ["renamed", "deleted"].flatMap((message) =>
      ["orchestrator.audit.a", "app.b"].map((logger) => textRecord(message, { logger })),
    );
    await gateway.send({ logger: "", records });
    const stored = await gateway.stored();
    expect(stored.map(({ type, data }) => [type, data.message])).toEqual([
      ["audit_log", "renamed"],
      ["system_log", "renamed"],
      ["audit_log", "deleted"],
      ["system_log", "deleted"],
    ]);
  });

  it("does its actions in order, over OTLP and in process, to audit events, too", async () => {
    process.env["TEST_REGION"] = "eu-1";
    await using gateway = await ProcessingGateway.start({
      attributes: { actions: ACTIONS },
      "attributes/later": {
        filter: "logger:app.http",
        actions: [{ key: "seen", action: "insert", from_attribute: "environment" }],
      },
    });
    delete process.env["TEST_REGION"];
    const given = {
      environment: "test",
      status: "unknown",
      userId: "u-1",
      user_id: "old",
      customer: "acme",
      secret: "x",
      "http.request.raw": "x",
      "http.raw": "stays",
    };
    const record = textRecord("over OTLP", given);
    await gateway.send({ logger: "app.http", records: [record], resource: RESOURCE });
    gateway.logging.getLogger("app").info("in process", { secret: "x" });
    await gateway.logging.audit({ eventType: "login", userId: "u-2" });

    const [sent, logged, event] = await gateway.stored();
    expect(extras(sent!.data)).toEqual({
      "http.raw": "stays",
      customer: "acme",
      environment: "test",
      host: "db-1",
      region: "eu-1",
      seen: "test",
      service: "shop",
      status: 200,
      tenant: "acme",
      user_id: "u-1",
    });
    expect(extras(logged!.data)).toEqual({ environment: "prod", region: "eu-1" });
    expect(event).toMatchObject({
      type: "audit_log",
      data: { action: "login", metadata: { user_id: "u-2", environment: "prod" } },
    });
    expect(await gateway.metric("tailgate_records_failed_total", "attributes")).toBe(0);
  });

  it("copies a nested value, so that later changes do not reach both", () => {
    const map = new Map<string, Value>([["a", [1]]]);
    const record = createRecord({ logger: "app", body: "", attributes: { map } });
    const processor = open([{ key: "copy", action: "copy", from_attribute: "map" }]);
    const { attributes: result } = processed(processor, record)!;
    expect(result.get("copy")).toEqual(map);
    ((result.get("copy") as ValueMap).get("a") as Value[]).push(2);
    expect(result.get("map")).toEqual(map);
  });

  test("does what a simple model says, and only looks at records that it need not change", () => {
    fc.assert(
      fc.property(fc.array(action, { minLength: 1, maxLength: 6 }), record, (actions, given) => {
        const init = { logger: "app", body: "", attributes: given };
        const original = createRecord(init);
        const result = processed(open(actions), original)!;
        const expected = actions.reduce(model, new Map(Object.entries(given)));
        expect(new Map(result.attributes)).toEqual(expected);
        expect(result === original).toBe(isUnneeded(actions, given));
      }),
    );
  });
});

type Action = (typeof ACTIONS)[number];

/** Few names, so that actions meet. */
const name = fc.constantFrom("a", "b", "a.b", "a.c.b");
const value = fc.oneof(fc.constantFrom("x", 1, true), fc.double({ noNaN: true }), fc.string());
const action: fc.Arbitrary<Action> = fc.oneof(
  fc.record({ key: name, action: fc.constantFrom("insert", "update", "upsert"), value }),
  fc
    .record({
      key: name,
      action: fc.constantFrom("insert", "update", "upsert", "copy", "rename"),
      from_attribute: name,
    })
    .filter(({ key, from_attribute: from }) => key !== from),
  fc.record({
    key: fc.constantFrom("a", "a.b", "a*", "*b", "a*b", "*"),
    action: fc.constant("delete"),
  }),
) as fc.Arbitrary<Action>;
const record = fc.dictionary(name, value);

function model(attributesNow: Map<string, Value>, step: Action): Map<string, Value> {
  const { key, action: does, value: given, from_attribute: from } = step;
  const next = new Map(attributesNow);
  if (does === "delete") {
    const pattern = new RegExp(`^${key.replaceAll(".", "\\.").replaceAll("*", ".*")}$`);
    for (const one of attributesNow.keys()) if (pattern.test(one)) next.delete(one);
    return next;
  }
  const source = from === undefined ? given : attributesNow.get(from);
  if (source === undefined) return next;
  const has = attributesNow.has(key);
  if (does === "insert" ? !has : does !== "update" || has) next.set(key, source);
  if (does === "rename") next.delete(from!);
  return next;
}

function isUnneeded(actions: readonly Action[], given: Record<string, Value>): boolean {
  const before = new Map(Object.entries(given));
  return actions.every((step) => {
    const after = model(before, step);
    return (
      after.size === before.size &&
      [...after].every(([key, one]) => before.has(key) && Object.is(before.get(key), one))
    );
  });
}

function open(actions: readonly object[]) {
  const opened = attributes.open(attributes.options.parse({ actions }), {} as ProcessorHost);
  if (opened instanceof Promise) throw new Error("It opens at once.");
  return opened;
}

test.each([
  [
    { key: "a", action: "insert" },
    "actions[0].action: insert needs exactly one of value, from_attribute, from_resource, from_env",
  ],
  [
    { key: "a", action: "rename", from_attribute: "a" },
    "actions[0].from_attribute: it is the same attribute as key",
  ],
  [{ key: "a", action: "rename" }, "actions[0].action: rename needs from_attribute"],
  [{ key: "a", action: "delete", value: 1 }, "actions[0].value: delete takes no value"],
  [{ key: "a", action: "copy", from_env: "X" }, "actions[0].from_env: copy takes from_attribute"],
  [
    { key: "a", action: "insert", from_env: "NOT_THERE" },
    "NOT_THERE, which an action takes its value from, is not set",
  ],
])("the action %j is a problem", async (given, problem) => {
  const processors = { attributes: { actions: [given] } };
  const configured = resolveConfig({ cwd: "/", env: {}, flags: {}, document: { processors } });
  const started = configured.then(() => ProcessingGateway.start(processors));
  await expect(started).rejects.toThrow(problem);
});
