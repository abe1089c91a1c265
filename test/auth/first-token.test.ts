import { stat } from "node:fs/promises";
import { expect, test } from "vitest";
import { firstToken } from "../../src/auth/tokens/first-token.ts";
import { readTokensFile } from "../../src/auth/tokens/tokens-file.ts";
import { loginLinks } from "../../src/http/server/login-links.ts";
import { TestTokens } from "../harness/tokens.ts";
import { Workspace } from "../harness/workspace.ts";

test("the first token is for administrators, and nobody has its secret", async () => {
  await using workspace = await Workspace.create();
  const path = workspace.path("keys/tokens.json");
  const id = await firstToken(path);
  const { tokens } = (await readTokensFile(path))!;
  expect(tokens).toEqual([
    {
      id,
      name: "admin",
      sha256: "0".repeat(64),
      scopes: ["admin"],
      created_at: expect.any(String),
    },
  ]);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  // A link that was not used is replaced at the next start.
  expect(await firstToken(path)).toBe(id);
});

test("there is no first token where others exist", async () => {
  await using workspace = await Workspace.create();
  const { path } = await TestTokens.create(workspace, { ci: { scopes: ["ingest"] } });
  const before = await readTokensFile(path);
  expect(await firstToken(path)).toBeUndefined();
  expect(await readTokensFile(path)).toEqual(before);
});

test("concurrent starts create one first token", async () => {
  await using workspace = await Workspace.create();
  const path = workspace.path("tokens.json");
  await Promise.all(Array.from({ length: 4 }, () => firstToken(path)));
  expect((await readTokensFile(path))!.tokens).toHaveLength(1);
});

test("login links have an address that can be opened, and the code in the fragment", () => {
  const code = "c0de";
  const options = {
    allowedHosts: ["logs.example.com", "https://app.example.com"],
    basePath: "",
    code,
  };
  const url = "http://0.0.0.0:8001";
  expect(loginLinks({ ...options, url: "http://127.0.0.1:8001", host: "127.0.0.1" })).toEqual([
    "http://127.0.0.1:8001/login#c0de",
  ]);
  expect(
    loginLinks({ ...options, url: "https://[::1]:443", host: "::1", basePath: "/tailgate" }),
  ).toEqual(["https://[::1]/tailgate/login#c0de"]);
  const links = loginLinks({ ...options, url, host: "0.0.0.0" });
  expect(links[0]).toBe("http://logs.example.com:8001/login#c0de");
  expect(links.at(-1)).toBe("http://127.0.0.1:8001/login#c0de");
  expect(links.join()).not.toContain("0.0.0.0");
  const subjectAltName =
    'DNS:tail.example.com, DNS:*.example.com, DNS:"a, b", IP Address:192.0.2.1';
  const certified = loginLinks({ ...options, url, host: "0.0.0.0", subjectAltName });
  expect(certified).toEqual([
    links[0],
    "http://tail.example.com:8001/login#c0de",
    ...links.slice(1),
  ]);
});
