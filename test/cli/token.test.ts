import { execFileSync } from "node:child_process";
import {
  chmodSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { utimes } from "node:fs/promises";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { changeTokensFile, readTokensFile } from "../../src/auth/tokens/tokens-file.ts";
import { issueToken } from "../../src/auth/tokens/issued-token.ts";
import { digestOf, parseToken } from "../../src/auth/tokens/token.ts";
import { parseExpiry } from "../../src/cli/expiry.ts";
import { runCli, type Program } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";

const TOKEN_LINE = /^tgw_[0-9a-f]{12}_[0-9A-Za-z]{49}\n$/;

const CONFIG = "auth: { tokens_file: secrets/tokens.json }\nreceivers: {}\nexporters: {}\n";

function tailgate(workspace: Workspace, ...args: string[]): Promise<Program> {
  return runCli(["token", ...args], {
    cwd: workspace.directory,
    env: { XDG_CONFIG_HOME: workspace.path("config") },
  });
}

function modeOf(path: string): number {
  return statSync(path).mode & 0o777;
}

test("a token is created, listed and revoked in the file that the configuration names", async () => {
  await using workspace = await Workspace.create({ "tailgate.yaml": CONFIG });
  const created = await tailgate(
    workspace,
    ...["create", "--name", "ci", "--scope", "ingest", "--scope", "read:system"],
    ...["--filter", "type:system logger:a.b", "--expires", "2999-12-31"],
  );
  const { stdout: text } = created;
  const file = workspace.path("secrets/tokens.json");
  // `TOKEN=$(tailgate token create ...)` gets the token and nothing else.
  expect(text).toMatch(TOKEN_LINE);
  const token = parseToken(text.trim())!;
  expect(created.stderr).toBe(
    `tailgate: created the token ci (id ${token.id}, ingest, read:system), which expires on 2999-12-31T23:59:59.999Z\n`,
  );
  expect([modeOf(workspace.path("secrets")), modeOf(file)]).toEqual([0o700, 0o600]);
  const content = readFileSync(file, "utf8");
  expect(content).toContain(digestOf(token.secret).toString("hex"));
  expect(content).not.toContain(token.secret);

  const listed = await tailgate(workspace, "list");
  expect(listed.stderr).toBe("");
  expect(listed.stdout).toMatch(
    /^NAME {2}ID {12}STATE {2}SCOPES {14}FILTER {18}CREATED {5}EXPIRES\nci {4}[0-9a-f]{12} {2}valid {2}ingest,read:system {2}type:system logger:a\.b {2}\d{4}-\d\d-\d\d {2}2999-12-31\n$/,
  );

  const revoked = await tailgate(workspace, "revoke", "ci");
  expect([await revoked.ended, revoked.stdout, revoked.stderr]).toEqual([
    0,
    "",
    "tailgate: revoked the token ci\n",
  ]);
  const again = await tailgate(workspace, "revoke", token.id);
  expect([await again.ended, again.stderr]).toEqual([
    0,
    "tailgate: the token ci was already revoked\n",
  ]);
  const { stdout: json } = await tailgate(workspace, "list", "--json");
  const time = expect.stringMatching(/^\d{4}-.*Z$/);
  expect(JSON.parse(json)).toEqual([
    {
      id: token.id,
      name: "ci",
      scopes: ["ingest", "read:system"],
      filter: "type:system logger:a.b",
      created_at: time,
      expires_at: "2999-12-31T23:59:59.999Z",
      revoked_at: time,
      state: "revoked",
    },
  ]);
  expect(json).not.toContain(digestOf(token.secret).toString("hex"));

  const taken = await tailgate(workspace, "create", "--name", "ci", "--scope", "read");
  expect([await taken.ended, taken.stdout]).toEqual([64, ""]);
  expect(taken.stderr).toBe(
    `tailgate: USAGE: The name ci was used before, by a token in ${file} (revoked). Choose another name. Run \`tailgate --help\`.\n`,
  );
});

test("without a configuration, the default file is used, and it is said that nothing checks tokens", async () => {
  await using workspace = await Workspace.create();
  const empty = await tailgate(workspace, "list");
  const file = workspace.path("config/tailgate/tokens.json");
  const off =
    "tailgate: authentication is off: the configuration has no key auth, so tokens are not checked\n";
  expect([await empty.ended, empty.stdout, empty.stderr]).toEqual([
    0,
    "",
    `${off}tailgate: there is no tokens file ${file} yet\n`,
  ]);
  const created = await tailgate(workspace, "create", "--name=a", "--scope=metrics");
  expect(created.stderr).toMatch(/^tailgate: authentication is off.*\n.*expires on/);
  const [stored] = (await readTokensFile(file))!.tokens;
  const days = (Date.parse(stored!.expires_at!) - Date.parse(stored!.created_at)) / 86_400_000;
  expect(days).toBeCloseTo(90, 3);
});

test("programs that create tokens at the same time lose none", async () => {
  await using workspace = await Workspace.create();
  const file = workspace.path("tokens.json");
  const names = ["a", "b", "c", "d", "e"];
  const programs = names.map((name) =>
    tailgate(workspace, "create", "--tokens-file", file, "--name", name, "--scope", "ingest"),
  );
  for (const program of await Promise.all(programs)) {
    expect(program.stdout).toMatch(TOKEN_LINE);
  }
  const changes = Array.from({ length: 30 }, (_, index) =>
    changeTokensFile(file, (tokens) => {
      const name = `in-process-${index}`;
      const { stored } = issueToken({ name, scopes: ["read"], expires: null });
      return { tokens: [...tokens, stored], result: name };
    }),
  );
  const inProcess = await Promise.all(changes);
  const { tokens } = (await readTokensFile(file))!;
  expect(tokens.map(({ name }) => name).toSorted()).toEqual([...names, ...inProcess].toSorted());
  expect(readdirSync(workspace.directory)).toEqual(["tokens.json"]);
});

test("the lock of a program that was killed is ignored after ten seconds", async () => {
  await using workspace = await Workspace.create({ "tokens.json.lock": "" });
  const lock = workspace.path("tokens.json.lock");
  const past = new Date(Date.now() - 11_000);
  await utimes(lock, past, past);
  const file = workspace.path("tokens.json");
  await changeTokensFile(file, () => ({ tokens: [], result: undefined }));
  expect(readdirSync(workspace.directory)).toEqual(["tokens.json"]);
});

test("a program whose lock was taken for one that was left behind loses no change", async () => {
  await using workspace = await Workspace.create();
  const file = workspace.path("tokens.json");
  const [late, other] = ["late", "other"].map(
    (name) => issueToken({ name, scopes: ["read"], expires: null }).stored,
  );
  let calls = 0;
  await changeTokensFile(file, (tokens) => {
    calls++;
    if (calls === 1) {
      // Another program has removed the lock, and finishes in the meantime.
      rmSync(`${file}.lock`);
      writeFileSync(file, JSON.stringify({ version: 1, tokens: [other] }), { mode: 0o600 });
    }
    return { tokens: [...tokens, late!], result: undefined };
  });
  const { tokens } = (await readTokensFile(file))!;
  expect([calls, ...tokens.map(({ name }) => name)]).toEqual([2, "other", "late"]);
  expect(readdirSync(workspace.directory)).toEqual(["tokens.json"]);
});

describe("rejects, and writes nothing,", () => {
  const create = ["create", "--name", "a", "--scope"];
  test.each([
    [[...create, "write"], 64, "SCOPE_INVALID: There is no scope"],
    [[...create, "ingest", "--filter", "x"], 64, "USAGE: --filter limits what a token reads"],
    [["revoke", "nobody"], 64, 'USAGE: There is no token "nobody" in'],
    [["list", "--config", "x.yaml"], 64, "--config and --tokens-file cannot be combined."],
  ])("%j", async (args, code, text) => {
    await using workspace = await Workspace.create();
    const cli = await tailgate(workspace, ...args, "--tokens-file", "tokens.json");
    expect([await cli.ended, cli.stdout]).toEqual([code, ""]);
    expect(cli.stderr).toContain(text);
    expect(readdirSync(workspace.directory)).toEqual([]);
  });
});

test("a file that the gateway would not accept is not changed", async () => {
  await using workspace = await Workspace.create({ "tokens.json": '{"version":1,"tokens":[]}' });
  const file = workspace.path("tokens.json");
  chmodSync(file, 0o604);
  const change = changeTokensFile(file, () => ({ tokens: [], result: undefined }));
  await expect(change).rejects.toMatchObject({ code: "TOKENS_UNREADABLE" });
  chmodSync(file, 0o640);
  await changeTokensFile(file, () => ({ tokens: [], result: undefined }));
  expect(modeOf(file)).toBe(0o640);
});

test.runIf(process.getuid?.() === 0)(
  "root leaves the file to the user of the gateway",
  async () => {
    await using workspace = await Workspace.create();
    const directory = workspace.path("own");
    mkdirSync(directory);
    execFileSync("chown", ["12345:23456", directory]);
    const file = `${directory}/tokens.json`;
    for (const name of ["a", "b"]) {
      await changeTokensFile(file, (tokens) => {
        const { stored } = issueToken({ name, scopes: ["read"], expires: null });
        return { tokens: [...tokens, stored], result: undefined };
      });
      const { uid, gid } = statSync(file);
      expect([uid, gid, modeOf(file)]).toEqual([12345, 23456, 0o600]);
    }
  },
);

test("a scope or filter that the gateway would not understand is not stored", () => {
  const options = { name: "a", scopes: ["read"], expires: null };
  expect(() => issueToken({ ...options, scopes: ["write"] })).toThrow("There is no scope");
  expect(() => issueToken({ ...options, filter: "level:" })).toThrow("The filter term");
});

test("a directory that cannot be written is reported as such", async () => {
  await using workspace = await Workspace.create();
  writeFileSync(workspace.path("file"), "");
  const change = changeTokensFile(workspace.path("file/tokens.json"), () => ({
    tokens: [],
    result: undefined,
  }));
  await expect(change).rejects.toMatchObject({ code: "TOKENS_NOT_WRITTEN", exitCode: 77 });
});

describe("an expiry", () => {
  const NOW_MS = Date.parse("2026-11-30T12:00:00Z");

  test.each([
    ["90d", "2027-02-28T12:00:00.000Z"],
    ["2027-01-31", "2027-01-31T23:59:59.999Z"],
    ["2028-02-29", "2028-02-29T23:59:59.999Z"],
    ["2027-01-31T10:00Z", "2027-01-31T10:00:00.000Z"],
    ["2027-01-31T10:00:00+02:00", "2027-01-31T08:00:00.000Z"],
    ["2026-11-30", "2026-11-30T23:59:59.999Z"],
  ])("%s is %s", (text, time) => {
    expect(parseExpiry(text, NOW_MS)).toEqual(new Date(time));
  });

  test.each(["", "90", "3w", "2027-02-29", "2027-13-01", "2027-01-31T10:00", "2027-01-31T25:00Z"])(
    "%j is not understood",
    (text) => expect(() => parseExpiry(text, NOW_MS)).toThrow(/^Expected a number of days/),
  );

  test.each(["0d", "2026-11-29", "2026-11-30T11:59Z"])("%s is in the past", (text) => {
    expect(() => parseExpiry(text, NOW_MS)).toThrow("It is in the past.");
  });

  test("a day is one that the calendar has, and never is the only word", () => {
    expect(parseExpiry("never", NOW_MS)).toBe("never");
    const times = fc.date({
      min: new Date("2027-01-01"),
      max: new Date("9999-12-31"),
      noInvalidDate: true,
    });
    fc.assert(
      fc.property(times, (time) => {
        const day = time.toISOString().slice(0, 10);
        expect(parseExpiry(day, NOW_MS)).toEqual(new Date(`${day}T23:59:59.999Z`));
      }),
    );
  });
});
