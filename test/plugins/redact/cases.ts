/** Texts with and without secrets, written before the matcher was. All secrets are synthetic. */

import type { BuiltInRule } from "../../../plugins/redact/rules.ts";

export interface Positive {
  readonly rule: BuiltInRule;
  readonly text: string;
  /** What must be gone afterwards. */
  readonly secret: string;
}

const LETTERS = "aZ3kQ9xLm2Pw7RtB5vYc8NdF1sHj4GuE6oTiK0qXeWyVlCzJnArSbUgIhDfMpO";

/** Returns that many letters and digits, which scanners of secrets do not mistake for real ones. */
function alnum(length: number): string {
  return LETTERS.repeat(3).slice(0, length);
}

const upper = (length: number): string =>
  "Q7XWA2ZKP5MRNCTB3VYDHJ6GLEUFSO4I".repeat(2).slice(0, length);
const hex = (length: number): string =>
  "3fa85f6457174562b3fc2c963f66afa6".repeat(4).slice(0, length);

const JWT = `eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.${alnum(43)}`;
const UNSIGNED_JWT = `eyJhbGciOiJub25lIn0.eyJzdWIiOiI0MiJ9.`;
const KEY_BODY = `MIIEvQIBADANBgkqhkiG9w0BAQEF${alnum(36)}\n${alnum(20)}==`;

function keyBlock(kind: string, lineEnd = "\n"): string {
  const body = KEY_BODY.replaceAll("\n", lineEnd);
  return `-----BEGIN ${kind}PRIVATE KEY-----${lineEnd}${body}${lineEnd}-----END ${kind}PRIVATE KEY-----`;
}

const emails: Positive[] = [
  ["user bob@example.com logged in", "bob@example.com"],
  ["mail to <Ada.Lovelace+logs@mail.example.co.uk>, ok", "Ada.Lovelace+logs@mail.example.co.uk"],
  ["from=o'neil@example.org status=sent", "o'neil@example.org"],
  ["GET /reset?email=bob%40example.com HTTP/1.1", "bob%40example.com"],
  ['{"user":"bob@example.com"}', "bob@example.com"],
  [String.raw`first line\nbob@example.com`, "bob@example.com"],
  ["Ends with bob@example.com.", "bob@example.com"],
  ["BOB@EXAMPLE.COM", "BOB@EXAMPLE.COM"],
  ["jürgen@beispiel.de sent a file", "jürgen@beispiel.de"],
  ["a@b.io", "a@b.io"],
].map(([text, secret]) => ({ rule: "email", text: text!, secret: secret! }));

const cards: Positive[] = [
  ["paid with 4111111111111111", "4111111111111111"],
  ["card 5555 5555 5555 4444 declined", "5555 5555 5555 4444"],
  ["card=3782-822463-10005", "3782-822463-10005"],
  ["amex 378282246310005.", "378282246310005"],
  ["(6011111111111117)", "6011111111111117"],
  ["jcb:3530111333300000", "3530111333300000"],
  ["diners 30569309025904", "30569309025904"],
  ["2223003122003222,12/29", "2223003122003222"],
  ['{"pan":"4111-1111-1111-1111"}', "4111-1111-1111-1111"],
].map(([text, secret]) => ({ rule: "card", text: text!, secret: secret! }));

const jwts: Positive[] = [
  [`got ${JWT}`, JWT],
  [`id="${JWT}"`, JWT],
  [`unsigned ${UNSIGNED_JWT} end`, UNSIGNED_JWT],
].map(([text, secret]) => ({ rule: "jwt", text: text!, secret: secret! }));

const authorizations: Positive[] = [
  [`Authorization: Bearer ${alnum(32)}`, alnum(32)],
  [`curl -H 'Authorization: token ${alnum(12)}' https://x.example`, alnum(12)],
  ["authorization: Basic Ym9iOmh1bnRlcjI=", "Ym9iOmh1bnRlcjI="],
  [`using bearer ${hex(32)} for the call`, hex(32)],
  ["sent Basic Ym9iOnB3 to the proxy", "Ym9iOnB3"],
  [`{"Authorization":"Bearer ${alnum(20)}"}`, alnum(20)],
  [`{'Proxy-Authorization': 'Digest response=${hex(12)}'}`, hex(12)],
].map(([text, secret]) => ({ rule: "authorization", text: text!, secret: secret! }));

const cloudKeys: Positive[] = [
  `AKIA${upper(16)}`,
  `ASIA${upper(16)}`,
  `ghp_${alnum(36)}`,
  `gho_${alnum(36)}`,
  `ghs_${alnum(36)}`,
  `github_pat_${alnum(22)}_${alnum(59)}`,
  `glpat-${alnum(20)}`,
  `xoxb-123456789012-${alnum(24)}`,
  `xapp-1-A0B1C2-${alnum(24)}`,
  `AIza${alnum(35)}`,
  `sk_live_${alnum(24)}`,
  `rk_live_${alnum(24)}`,
  `sk-ant-api03-${alnum(93)}AA`,
  `sk-proj-${alnum(48)}`,
  `npm_${alnum(36)}`,
  `pypi-AgEIcHlwaS5vcmc${alnum(50)}`,
  `hf_${alnum(34)}`,
  `SG.${alnum(22)}.${alnum(43)}`,
  `dop_v1_${hex(64)}`,
  `tgw_${hex(12)}_${alnum(49)}`,
].map((secret, index) => ({
  rule: "cloud_keys",
  text: [`key is ${secret}`, `(${secret})`, `k=${secret}, next`, `"${secret}"`][index % 4]!,
  secret,
}));

const privateKeys: Positive[] = [
  keyBlock(""),
  keyBlock("RSA "),
  keyBlock("OPENSSH ", String.raw`\n`),
  keyBlock("EC ").slice(0, 90),
].map((secret) => ({
  rule: "private_key",
  text: `loaded ${secret}`,
  secret: secret.slice(32, 60),
}));

const assignments: Positive[] = [
  ["password=hunter2", "hunter2"],
  ["connect with PASSWORD = hunter2, retrying", "hunter2"],
  ["DB_PASSWORD=s3cr3t ./run", "s3cr3t"],
  ["password: hunter2", "hunter2"],
  ['{"password":"hun ter2"}', "hun ter2"],
  [String.raw`{\"password\":\"hunter2\",\"a\":1}`, "hunter2"],
  ["{'passwd': 'hunter2'}", "hunter2"],
  ["login --password hunter2 --verbose", "hunter2"],
  ["mysqldump --password=hunter2 db", "hunter2"],
  ["api_key=abc123def456", "abc123def456"],
  ["apiKey: 'abc123def456'", "abc123def456"],
  ["X-API-Key: abc123def456", "abc123def456"],
  ["client_secret=Zx81Qq", "Zx81Qq"],
  ["access_token=abc123def456&state=1", "abc123def456"],
  ["aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI/K7MDENG"],
  ["AccountName=x;AccountKey=abc123==;EndpointSuffix=core", "abc123=="],
  ["Cookie: sid=abc123; theme=dark", "abc123"],
  ["Set-Cookie: sid=abc123; HttpOnly", "abc123"],
  ["Server=db;User Id=sa;Pwd=hunter2;", "hunter2"],
  ['passphrase: "correct horse"', "correct horse"],
  ["private_key=abcdef0123", "abcdef0123"],
  ["PGPASSWORD=hunter2 psql", "hunter2"],
  ['token: "abc123def"', "abc123def"],
  ["GET https://b.example/o?X-Amz-Signature=3fa85f64", "3fa85f64"],
  ["<password>hunter2</password>", "hunter2"],
].map(([text, secret]) => ({ rule: "assignments", text: text!, secret: secret! }));

const urls: Positive[] = [
  ["postgres://app:hunter2@db.example:5432/x", "hunter2"],
  ["redis://:hunter2@cache:6379/0", "hunter2"],
  ["https://x-token:abc123@git.example/r.git", "abc123"],
  ["amqp://app:p@ss@mq:5672", "p@ss"],
  ["https://s.example/b?sv=1&sig=aB3%2Fd4&se=2", "aB3%2Fd4"],
  ["https://x.example/cb?code=4aBc9&state=1", "4aBc9"],
].map(([text, secret]) => ({ rule: "url_credentials", text: text!, secret: secret! }));

export const POSITIVES: readonly Positive[] = [
  ...emails,
  ...cards,
  ...jwts,
  ...authorizations,
  ...cloudKeys,
  ...privateKeys,
  ...assignments,
  ...urls,
];

/** Texts that must stay as they are. Several come from the logs of real systems. */
export const NEGATIVES: readonly string[] = [
  "",
  "hello",
  "started in 1764540000000 ms",
  "at 1764540000000000000 ns",
  "at 4764540000000000003 ns",
  "order 1234567890123456",
  "trace 4bf92f3577b34da6a3ce929d0e0e4736",
  "id 550e8400-e29b-41d4-a716-446655440000",
  "id 41111111-1111-1111-1111-111111111111",
  "IBAN DE89370400440532013000",
  "ISBN 978-3-16-148410-0",
  "phone +49 30 1234 5678",
  "2025-10-13T09:27:24.339163Z",
  "2025-10-13 09:27:24,339 - INFO - ready",
  "0.4111111111111111 of the requests",
  "v4111111111111111",
  "4111111111111112",
  "4111 1111 11111111",
  "git clone git@github.com:example/tailgate.git",
  "ssh root@10.0.0.5",
  "getty@tty1.service: Deactivated successfully",
  "user@1000.service: Consumed 1.2s CPU time",
  "npm install left-pad@1.3.0",
  "npm WARN @types/node@24.19.2 deprecated",
  "logo@2x.png loaded",
  "@app.route('/users')",
  "me @ home",
  "java.lang.Object@1b2c3d4e",
  "foo@bar",
  "passwordless login enabled",
  "invalid password for user root",
  "Failed password for invalid user admin from 10.0.0.7 port 22 ssh2",
  "password=",
  "password: null",
  '{"password":null}',
  '{"password":""}',
  '{"has_password":true}',
  "if password == expected:",
  "max_tokens=4096",
  "total_tokens: 1234",
  '{"input_tokens":512,"output_tokens":64}',
  "token expired",
  "token: invalid",
  "next token",
  "secret: not found",
  "secret/app-config created",
  "PWD=/home/app OLDPWD=/",
  "Bearer token is missing",
  "bearer authentication failed",
  "basic authentication required",
  "Basic settings saved",
  "Visual Basic project",
  "eyJ",
  "eyJhbGciOi",
  "eyJhbGciOi.not-a-token",
  "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
  "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
  "https://example.com/@bob/post",
  "https://example.com:8080/a@b",
  "http://127.0.0.1:8001/ws/logs?replay=100",
  "git+ssh://git@github.com/example/r.git",
  "file:///etc/passwd",
  "task-manager risk-level disk-usage-report-2025",
  "npm_lifecycle_event=test",
  "hf_transfer enabled",
  "status_code=200 code=42",
  "AKIAEXAMPLE",
  "ghp_short",
  "cookies accepted",
  "the signature is valid",
  "[REDACTED:email] wrote to [REDACTED:card]",
  "password=[REDACTED:assignments]",
  '{"api_key":"[REDACTED:keys]"}',
  "user [HASH:email:k1:4111111111111111] signed in",
  "password=********",
  "usage: login --password <password>",
  "password=${DB_PASSWORD}",
];
