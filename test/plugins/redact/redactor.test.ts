/** What the processor makes of single records. */

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { LogRecord, Value } from "tailgate/plugin";
import { recordOf } from "tailgate/testing";
import redact, { Redactor } from "../../../plugins/redact.ts";
import { anySecret } from "./secrets.ts";

const KEY = Buffer.alloc(32, 7);

interface Counted {
  readonly rule: string;
  readonly action: string;
  readonly secrets: number;
}

function open(options: object = {}, key: Uint8Array = KEY, counted: Counted[] = []): Redactor {
  const given = redact.options.parse({ hash_key_env: "UNUSED", ...options });
  return new Redactor(given, { hashKey: key }, (rule, action, secrets) =>
    counted.push({ rule, action, secrets }),
  );
}

function body(redactor: Redactor, given: Value): Value {
  return redactor.process(recordOf({ body: given })).body;
}

function attributes(redactor: Redactor, given: Record<string, Value>): Record<string, Value> {
  const record = recordOf({ attributes: new Map(Object.entries(given)) });
  return Object.fromEntries(redactor.process(record).attributes);
}

describe("an action", () => {
  test("masks with a text of its own", () => {
    const redactor = open({ mask: "<{rule}>" });
    expect(body(redactor, "to bob@example.com")).toBe("to <email>");
    expect(body(redactor, "password=hunter2")).toBe("password=<assignments>");
    expect(body(redactor, "password=<assignments>")).toBe("password=<assignments>");
  });

  test("removes text and attributes", () => {
    const redactor = open({ action: "remove", actions: { card: "mask" } });
    expect(body(redactor, "to bob@example.com now")).toBe("to  now");
    expect(body(redactor, "password=hunter2 next=1")).toBe('password="" next=1');
    expect(attributes(redactor, { password: "x", card: 4111111111111111, ok: 1 })).toEqual({
      card: "[REDACTED:card]",
      ok: 1,
    });
  });

  test("hashes, so that equal values stay equal within a rule and under a key", () => {
    const redactor = open({ action: "hash" });
    const text = "bob@example.com, bob@example.com, ada@example.com";
    const [first, second, third] = (body(redactor, text) as string).split(", ");
    expect(first).toMatch(/^\[HASH:email:[0-9a-f]{4}:[0-9a-f]{16}\]$/);
    expect(second).toBe(first);
    expect(third).not.toBe(first);
    const keyed = attributes(redactor, { password: "bob@example.com" })["password"];
    expect((keyed as string).slice(-17)).not.toBe(first!.slice(-17));
    const others = open({ action: "hash" }, Buffer.alloc(32, 8));
    const other = body(others, "bob@example.com") as string;
    expect([other.slice(12, 16), other.slice(17)]).not.toContain(first!.slice(12, 16));
    expect(other.slice(17)).not.toBe(first!.slice(17));
  });

  test("hashes a card in every form to the same", () => {
    const redactor = open({ action: "hash" });
    const text = "4111 1111 1111 1111,4111-1111-1111-1111,4111111111111111";
    const hashes = (body(redactor, text) as string).split(",");
    const { card } = attributes(redactor, { card: 4111111111111111n });
    expect(new Set([...hashes, card]).size).toBe(1);
    expect(card).toMatch(/^\[HASH:card:/);
  });

  test("is counted by rule", () => {
    const counted: Counted[] = [];
    const redactor = open({ actions: { keys: "remove" } }, KEY, counted);
    expect(counted.map(({ secrets }) => secrets)).toEqual(Array(9).fill(0));
    counted.length = 0;
    attributes(redactor, { password: "x", text: "a@b.example c@d.example", fine: "x" });
    expect(counted).toEqual([
      { rule: "keys", action: "remove", secrets: 1 },
      { rule: "email", action: "mask", secrets: 1 },
      { rule: "email", action: "mask", secrets: 1 },
    ]);
  });
});

test("keys of one's own are added to the default ones", () => {
  const redactor = open({ add_keys: ["customer.*"], patterns: [] });
  const found = attributes(redactor, { "customer.name": "Ada", token: "x", plan: "basic" });
  const mask = "[REDACTED:keys]";
  expect(found).toEqual({ "customer.name": mask, token: mask, plan: "basic" });
});

describe("keys", () => {
  const redactor = open({ keys: ["pass*", "customer.*", "ssn"], patterns: [] });

  test.each<[string, Record<string, Value>, Record<string, Value>]>([
    [
      "in any case and notation",
      { "Pass-Word": "x", PASSport: 5 },
      { "Pass-Word": "M", PASSport: "M" },
    ],
    ["by the last part", { "app.db.ssn": "x", ssnx: "x" }, { "app.db.ssn": "M", ssnx: "x" }],
    [
      "by the path",
      { "customer.name": "x", customer: "x" },
      { "customer.name": "M", customer: "x" },
    ],
    [
      "unless there is no secret",
      { password: null, pass: true, passe: "" },
      { password: null, pass: true, passe: "" },
    ],
    ["of identifiers only if configured", { instance_id: "a@b.io" }, { instance_id: "a@b.io" }],
  ])("are found %s", (_, given, expected) => {
    const masked = Object.entries(expected).map(([key, value]) => [
      key,
      value === "M" ? "[REDACTED:keys]" : value,
    ]);
    expect(attributes(redactor, given)).toEqual(Object.fromEntries(masked));
  });

  test("are found in nested values, by path and by their siblings", () => {
    const nested = new Map<string, Value>([["name", "x"]]);
    const named = new Map<string, Value>([
      ["value", "x"],
      ["name", "SSN"],
    ]);
    const given = { customer: nested, list: [named], pairs: ["ssn", "x"], other: ["a", "ssn"] };
    expect(attributes(redactor, given)).toEqual({
      customer: new Map([["name", "[REDACTED:keys]"]]),
      list: [
        new Map([
          ["value", "[REDACTED:keys]"],
          ["name", "SSN"],
        ]),
      ],
      pairs: ["ssn", "[REDACTED:keys]"],
      other: ["a", "ssn"],
    });
  });

  test("within JSON leave it valid, with its other values", () => {
    const json = '{"n": 12345678901234567890, "ssn": 5, "list": [{"ssn": {"a": [1]}}], "x": "y"}';
    expect(body(redactor, json)).toBe(
      '{"n":12345678901234567890,"ssn":"[REDACTED:keys]","list":[{"ssn":"[REDACTED:keys]"}],"x":"y"}',
    );
    const embedded = String.raw`got {\"ssn\": 5, \"x\": 1} and {"ssn": "5"}`;
    expect(body(redactor, embedded)).toBe(
      String.raw`got {\"ssn\": \"[REDACTED:keys]\", \"x\": 1} and {"ssn": "[REDACTED:keys]"}`,
    );
  });

  test("that are secrets themselves are replaced, without losing a value", () => {
    const given = { "a@b.example": 1, "c@d.example": 2, plain: 3 };
    expect(attributes(open(), given)).toEqual({
      "[REDACTED:email]": 1,
      "[REDACTED:email] 2": 2,
      plain: 3,
    });
  });
});

test("allowed texts stay, others beside them do not", () => {
  const redactor = open({ allow: ["*@Example.com"] });
  expect(body(redactor, "from help@example.com to bob@example.org")).toBe(
    "from help@example.com to [REDACTED:email]",
  );
});

test("a shared resource and scope are replaced once, and never modified", () => {
  const redactor = open();
  const resource = { attributes: new Map<string, Value>([["password", "x"]]) };
  const scope = { name: "a", version: "", attributes: new Map<string, Value>([["token", "x"]]) };
  const [one, other] = [0, 1].map(() => redactor.process(recordOf({ resource, scope })));
  expect(one!.resource!.attributes.get("password")).toBe("[REDACTED:keys]");
  expect(one!.scope.attributes.get("token")).toBe("[REDACTED:keys]");
  expect([other!.resource, other!.scope]).toEqual([one!.resource, one!.scope]);
  expect(other!.resource).toBe(one!.resource);
  expect([resource.attributes.get("password"), scope.attributes.get("token")]).toEqual(["x", "x"]);
});

test("a record is changed once: what was redacted stays as it is", () => {
  const words = fc.constantFrom(
    "a",
    "password",
    "=",
    ": ",
    '"',
    "\\",
    " ",
    "{",
    "}",
    ",",
    "--token ",
    "@",
    "://",
    "é",
  );
  const texts = fc
    .array(
      fc.oneof(
        words,
        anySecret.map(({ text }) => text),
        fc.string(),
      ),
      { maxLength: 12 },
    )
    .map((parts) => parts.join(""));
  for (const action of ["mask", "hash"]) {
    const redactor = open({ action });
    const process = (given: LogRecord): LogRecord => structuredClone(redactor.process(given));
    fc.assert(
      fc.property(texts, fc.dictionary(texts, texts), (text, extras) => {
        const record = recordOf({ body: text, attributes: new Map(Object.entries(extras)) });
        const once = process(record);
        expect(process(structuredClone(once))).toEqual(once);
      }),
      { numRuns: 300 },
    );
  }
});

test.each([
  [{ action: "hash" }, "the action hash needs a key"],
  [{ actions: { mail: "mask" } }, "there is no rule of that name"],
  [{ mask: 'a"b' }, "a text without quotes"],
])("the options %j are rejected", (given, message) => {
  expect(redact.options.safeParse(given).error?.message).toContain(message);
});
