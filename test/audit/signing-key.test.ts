import { generateKeyPairSync } from "node:crypto";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { defaultKeyFile, publicKeyFile } from "../../src/audit/key-files.ts";
import { readKeyRing } from "../../src/audit/public-keys.ts";
import { PublicKey } from "../../src/audit/public-keys.ts";
import { SigningKey } from "../../src/audit/signing-key.ts";
import { recordingLogger } from "./recording-logger.ts";
import { Workspace } from "../harness/workspace.ts";

async function open(workspace: Workspace, path: string) {
  mkdirSync(workspace.path("logs"), { recursive: true });
  const { log, lines } = recordingLogger();
  const key = await SigningKey.open({
    path: workspace.path(path),
    logDir: workspace.path("logs"),
    log,
  });
  return { key: key!, lines };
}

function modeOf(path: string): string {
  return (statSync(path).mode & 0o777).toString(8);
}

test("creates a missing key, readable by its owner only, with the public key next to it", async () => {
  await using workspace = await Workspace.create();
  const { key } = await open(workspace, "a/b/audit-key.pem");
  const file = workspace.path("a/b/audit-key.pem");
  expect([modeOf(dirname(file)), modeOf(file)]).toEqual(["700", "600"]);
  expect(PublicKey.read(publicKeyFile(file)).id).toBe(key.publicKey.id);
  const again = await open(workspace, "a/b/audit-key.pem");
  expect(again.key.publicKey.id).toBe(key.publicKey.id);
});

test("concurrent creators all get the same key", async () => {
  await using workspace = await Workspace.create();
  const opened = await Promise.all(Array.from({ length: 8 }, () => open(workspace, "keys/k.pem")));
  expect(new Set(opened.map(({ key }) => key.publicKey.id)).size).toBe(1);
});

const RSA = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;

test.each<[string, (path: string) => void, RegExp]>([
  ["readable by others", (path) => chmodSync(path, 0o640), /is accessible to other users/],
  [
    "a link",
    (path) => {
      renameSync(path, `${path}.real`);
      symlinkSync(`${path}.real`, path);
    },
    /is a symbolic link/,
  ],
  ["no key", (path) => writeFileSync(path, "no key"), /is not an Ed25519 private key/],
  ["empty", (path) => writeFileSync(path, ""), /is not an Ed25519 private key/],
  [
    "an RSA key",
    (path) => writeFileSync(path, RSA.export({ type: "pkcs8", format: "pem" })),
    /is not an Ed25519 private key/,
  ],
])("rejects a key that is %s, and leaves it unchanged", async (_, spoil, text) => {
  await using workspace = await Workspace.create();
  await open(workspace, "keys/k.pem");
  spoil(workspace.path("keys/k.pem"));
  const before = readFileSync(workspace.path("keys/k.pem"));
  const opening = open(workspace, "keys/k.pem");
  await expect(opening).rejects.toMatchObject({ code: "AUDIT_KEY_UNUSABLE" });
  await expect(opening).rejects.toThrow(text);
  await expect(opening).rejects.toThrow(
    /mode 0600, not a symbolic link, outside the log directory/,
  );
  expect(readFileSync(workspace.path("keys/k.pem"))).toEqual(before);
});

test.each<[string, string, number, RegExp | undefined]>([
  ["open to all", "keys", 0o777, /which other users can write \(mode 0777\)/],
  ["open to a group", "keys", 0o770, /which other users can write \(mode 0770\)/],
  ["open to all, with the sticky bit", "keys", 0o1777, /which other users can write \(mode 1777\)/],
  ["below one that is open to all", ".", 0o777, /which other users can write \(mode 0777\)/],
  ["below one with the sticky bit", ".", 0o1777, undefined],
  ["readable by all", "keys", 0o755, undefined],
])("a key in a directory that is %s", async (_, directory, mode, text) => {
  await using workspace = await Workspace.create();
  const { key } = await open(workspace, "keys/k.pem");
  symlinkSync(workspace.path("keys"), workspace.path("link"));
  chmodSync(workspace.path(directory), mode);
  for (const path of ["keys/k.pem", "link/k.pem"]) {
    const opening = open(workspace, path);
    if (text === undefined) {
      expect((await opening).key.publicKey.id).toBe(key.publicKey.id);
    } else {
      await expect(opening).rejects.toMatchObject({ code: "AUDIT_KEY_UNUSABLE" });
      await expect(opening).rejects.toThrow(text);
    }
  }
  // A key about to be created is no safer there.
  const making = open(workspace, "keys/new.pem");
  if (text === undefined) await making;
  else await expect(making).rejects.toThrow(text);
});

test.runIf(process.getuid!() === 0)("rejects a key in another user's directory", async () => {
  await using workspace = await Workspace.create();
  await open(workspace, "keys/k.pem");
  chownSync(workspace.path("keys"), 1234, 1234);
  await expect(open(workspace, "keys/k.pem")).rejects.toThrow(
    /belongs to another user \(uid 1234\)/,
  );
});

test("replaces a lost key with a warning, and retains every public key", async () => {
  await using workspace = await Workspace.create();
  const ids: string[] = [];
  for (let round = 0; round < 3; round++) {
    const { key, lines } = await open(workspace, "keys/audit-key.pem");
    const warnings = lines.filter((line) => line.includes("is missing, so a new one"));
    expect(warnings).toHaveLength(round === 0 ? 0 : 1);
    for (const id of ids) expect(warnings[0]).toContain(id);
    ids.push(key.publicKey.id);
    for (const id of ids) expect(key.publicKeyOf(id)?.id).toBe(id);
    // A key from an older Tailgate has no copy yet.
    if (round === 0) rmSync(workspace.path(`keys/audit-key.${ids[0]}.pub.pem`));
    rmSync(workspace.path("keys/audit-key.pem"));
  }
  expect(new Set(ids).size).toBe(3);
  const stored = ids.map((id) => PublicKey.read(workspace.path(`keys/audit-key.${id}.pub.pem`)).id);
  expect(stored).toEqual(ids);
  expect(PublicKey.read(workspace.path("keys/audit-key.pub.pem")).id).toBe(ids[2]);
});

test("reports a replaced public key and does not trust it", async () => {
  await using workspace = await Workspace.create();
  const { key } = await open(workspace, "keys/k.pem");
  const file = workspace.path("keys/k.pem");
  const { id } = key.publicKey;
  const mine = readFileSync(publicKeyFile(file));
  const foreign = generateKeyPairSync("ed25519").publicKey.export({ type: "spki", format: "pem" });
  const trusted = async (): Promise<readonly unknown[]> => {
    const { keys, findings } = await readKeyRing(file);
    return [keys.map((one) => one.id), findings.map(({ position }) => position)];
  };
  expect(await trusted()).toEqual([[id], []]);
  writeFileSync(publicKeyFile(file), foreign);
  expect(await trusted()).toEqual([[id], [publicKeyFile(file)]]);
  // For example on another machine without the private key.
  renameSync(file, `${file}.away`);
  expect(await trusted()).toEqual([[id], [publicKeyFile(file)]]);
  writeFileSync(publicKeyFile(file), mine);
  expect(await trusted()).toEqual([[id], []]);
  const copy = workspace.path(`keys/k.${id}.pub.pem`);
  writeFileSync(copy, foreign);
  expect(await trusted()).toEqual([[id], [copy]]);
});

test("rejects a directory at the key's path", async () => {
  await using workspace = await Workspace.create();
  mkdirSync(workspace.path("k.pem"));
  await expect(open(workspace, "k.pem")).rejects.toThrow(/is not a regular file/);
});

test("rejects a key inside the log directory, also through a symbolic link", async () => {
  await using workspace = await Workspace.create();
  mkdirSync(workspace.path("logs"));
  symlinkSync(workspace.path("logs"), workspace.path("elsewhere"));
  for (const path of ["logs/k.pem", "logs/deep/down/k.pem", "elsewhere/k.pem"]) {
    await expect(open(workspace, path)).rejects.toThrow(/is inside the log directory/);
  }
});

test("fails at startup if the configured key cannot be created", async () => {
  await using workspace = await Workspace.create({ file: "" });
  await expect(open(workspace, "file/k.pem")).rejects.toMatchObject({
    code: "AUDIT_KEY_NOT_CREATED",
  });
});

test("defaults to XDG_CONFIG_HOME, else to the home directory", () => {
  expect(defaultKeyFile({ XDG_CONFIG_HOME: "/cfg" })).toBe("/cfg/tailgate/audit-key.pem");
  expect(defaultKeyFile({ XDG_CONFIG_HOME: "relative" })).toBe(
    join(process.env["HOME"]!, ".config/tailgate/audit-key.pem"),
  );
  expect(publicKeyFile("/cfg/audit-key.pem")).toBe("/cfg/audit-key.pub.pem");
  expect(publicKeyFile("/cfg/key")).toBe("/cfg/key.pub.pem");
});
