/** Secrets, and the places in a record where they may be. */

import * as fc from "fast-check";

/** A secret that no other text contains. */
export interface Secret {
  readonly rule: string;
  /** Where it may be in a text: `Bearer ...`. */
  readonly text: string;
  /** What must be nowhere. */
  readonly secret: string;
}

const CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789".split("");

/** Letters and digits of both kinds, as random keys have. */
function randomText(length: number): fc.Arbitrary<string> {
  return fc
    .array(fc.constantFrom(...CHARACTERS), { minLength: length - 3, maxLength: length - 3 })
    .map((characters) => `${characters.join("")}x7Q`);
}

/** The check digit of ISO/IEC 7812-1. */
function withCheckDigit(digits: string): string {
  const sum = digits
    .split("")
    .toReversed()
    .reduce((total, digit, index) => {
      const doubled = index % 2 === 0 ? 2 * Number(digit) : Number(digit);
      return total + (doubled > 9 ? doubled - 9 : doubled);
    }, 0);
  return `${digits}${(10 - (sum % 10)) % 10}`;
}

const cardNumber = fc
  .bigInt({ min: 10n ** 13n, max: 10n ** 14n - 1n })
  .map((digits) => withCheckDigit(`4${digits}`));

const secretOf = (
  rule: string,
  random: fc.Arbitrary<string>,
  text: (random: string) => string,
  secret: (random: string) => string = (one) => one,
): fc.Arbitrary<Secret> => random.map((one) => ({ rule, text: text(one), secret: secret(one) }));

export const anySecret: fc.Arbitrary<Secret> = fc.oneof(
  secretOf("email", randomText(12), (one) => `${one}@mail.example.com`),
  secretOf("card", cardNumber, (one) => one),
  secretOf(
    "card",
    cardNumber.map((one) => one.match(/.{4}/g)!.join(" ")),
    (one) => one,
  ),
  secretOf("jwt", randomText(40), (one) => `eyJhbGciOiJIUzI1NiJ9.eyJ${one}.${one}`),
  secretOf("authorization", randomText(24), (one) => `Bearer ${one}`),
  secretOf(
    "authorization",
    randomText(12),
    (one) => `Basic ${btoa(`app:${one}`)}`,
    (one) => btoa(`app:${one}`),
  ),
  secretOf("cloud_keys", randomText(36), (one) => `ghp_${one}`),
  secretOf(
    "private_key",
    randomText(64),
    (one) => `-----BEGIN PRIVATE KEY-----\n${one}\n-----END PRIVATE KEY-----`,
  ),
  secretOf("assignments", randomText(10), (one) => `password=${one}`),
  secretOf("assignments", randomText(16), (one) => `"api_key": "${one}"`),
  secretOf("url_credentials", randomText(10), (one) => `postgres://app:${one}@db:5432/x`),
);

/** A value in OTLP/JSON. */
export type OtlpValue =
  | { readonly stringValue: string }
  | { readonly intValue: string }
  | { readonly doubleValue: number }
  | { readonly bytesValue: string }
  | { readonly arrayValue: { readonly values: readonly OtlpValue[] } }
  | { readonly kvlistValue: { readonly values: readonly OtlpAttribute[] } };

export interface OtlpAttribute {
  readonly key: string;
  readonly value: OtlpValue;
}

/** A request in OTLP/JSON. */
export interface OtlpRequest {
  readonly resourceLogs: readonly object[];
}

const text = (stringValue: string): OtlpValue => ({ stringValue });
const list = (...values: OtlpValue[]): OtlpValue => ({ arrayValue: { values } });
const map = (...values: OtlpAttribute[]): OtlpValue => ({ kvlistValue: { values } });
const entry = (key: string, value: OtlpValue): OtlpAttribute => ({ key, value });

/** Texts around a secret do not touch it. */
const around = fc.constantFrom("", "before ", "before: ", "é… ", "(");
const after = fc.constantFrom("", " after", ", after", " …é");

/** A value with the secret in it, as a text. */
export function valueWith({ text: secret }: Secret): fc.Arbitrary<OtlpValue> {
  const plain = fc.tuple(around, after).map(([one, other]) => text(one + secret + other));
  const inJson = fc.constantFrom(
    (value: string) => JSON.stringify({ note: value }),
    (value: string) => JSON.stringify([{ "a b": [value] }]),
    (value: string) => JSON.stringify({ inner: JSON.stringify({ note: value }) }),
    (value: string) => `sent ${JSON.stringify({ note: value })} twice`,
  );
  const bytes = plain.map((value) => ({
    bytesValue: Buffer.from((value as { stringValue: string }).stringValue).toString("base64"),
  }));
  const leaf = fc.oneof(
    plain,
    inJson.map((format) => text(format(secret))),
    bytes,
  );
  const nested = leaf.chain((value) =>
    fc
      .constantFrom<(one: OtlpValue) => OtlpValue>(
        (one) => one,
        (one) => list(text("a"), one),
        (one) => map(entry("a", text("b")), entry("c", one)),
        (one) => map(entry("c", list(list(one), text("d")))),
        () => map(entry(secret, text("value of a key"))),
      )
      .map((nest) => nest(value)),
  );
  return nested;
}

/** A value that is a secret by a key, by its siblings or by its type alone. */
function keyedValue(random: string, card: string): fc.Arbitrary<OtlpAttribute> {
  return fc.constantFrom(
    entry("password", text(random)),
    entry("DB-Pass_Word", text(random)),
    entry("user", map(entry("userPassword", text(random)))),
    entry("x", list(map(entry("password", list(text(random)))))),
    entry("header", list(list(text("X-Password"), text(random)))),
    entry("setting", map(entry("name", text("password")), entry("value", text(random)))),
    entry("process.command_args", list(text("run"), text("--password"), text(random))),
    entry("process.command_line", text(`run --password ${random} --fast`)),
    entry("json", text(JSON.stringify({ password: { is: [random] } }))),
    entry("json", text(`{"p\\u0061ssword":"${random}"}`)),
    entry("json", text(JSON.stringify({ name: "password", value: random }))),
    entry("x-internal", map(entry("deep", text(random)))),
    entry("x-internal.deep", text(random)),
    entry("card", { intValue: card }),
    entry("card", { doubleValue: Number(card) }),
    entry("cards", list({ intValue: card })),
  );
}

type Place = (value: OtlpValue, key: string) => OtlpRequest;

const request = (
  record: object,
  resource: readonly OtlpAttribute[] = [],
  scope: readonly OtlpAttribute[] = [],
  logger = "orchestrator.places",
): OtlpRequest => ({
  resourceLogs: [
    {
      resource: { attributes: resource },
      scopeLogs: [
        {
          scope: { name: logger, attributes: scope },
          logRecords: [{ severityNumber: 9, body: text("a record"), ...record }],
        },
      ],
    },
  ],
});

/** Where a value may be. */
export const anyPlace: fc.Arbitrary<Place> = fc.constantFrom<Place>(
  (value) => request({ body: value }),
  (value, key) => request({ attributes: [entry(key, value)] }),
  (value) => request({ attributes: [entry("exception.message", value)] }),
  (value) => request({ attributes: [entry("exception.stacktrace", value)] }),
  (value, key) => request({}, [entry(key, value)]),
  (value, key) => request({}, [], [entry(key, value)]),
  (value, key) => request({ attributes: [entry(key, value)] }, [], [], "orchestrator.audit"),
  (value) => request({ body: value, eventName: "stored" }, [], [], "orchestrator.audit"),
);

/** An attribute where only its key or its type tells that it is a secret. */
export const anyAttributePlace: fc.Arbitrary<(one: OtlpAttribute) => OtlpRequest> = fc.constantFrom<
  (one: OtlpAttribute) => OtlpRequest
>(
  (one) => request({ attributes: [one] }),
  (one) => request({ body: map(one) }),
  (one) => request({}, [one]),
  (one) => request({}, [], [one]),
  (one) => request({ attributes: [one] }, [], [], "orchestrator.audit"),
);

export const keyedSecret: fc.Arbitrary<{ attribute: OtlpAttribute; secrets: string[] }> = fc
  .tuple(randomText(14), cardNumber)
  .chain(([random, card]) =>
    keyedValue(random, card).map((attribute) => ({ attribute, secrets: [random, card] })),
  );

/** The secret where OTLP has only texts. */
export function textPlace({ text: secret }: Secret): fc.Arbitrary<OtlpRequest> {
  return fc.constantFrom(
    request({ eventName: secret }),
    request({ severityText: secret, severityNumber: 0 }),
    request({ attributes: [entry(secret, text("value"))] }),
    request({}, [entry(secret, text("value"))]),
  );
}

/** JSON in which each character of a text may be an escape. */
export function escapedJson(value: unknown, isEscaped: (index: number) => boolean): string {
  let index = 0;
  return JSON.stringify(value).replaceAll(/"(?:[^"\\]|\\.)*"/g, (quoted) => {
    const inner = JSON.parse(quoted) as string;
    const units = Array.from({ length: inner.length }, (_, at) =>
      isEscaped(index++)
        ? `\\u${inner.charCodeAt(at).toString(16).padStart(4, "0")}`
        : JSON.stringify(inner[at]).slice(1, -1),
    );
    return `"${units.join("")}"`;
  });
}
