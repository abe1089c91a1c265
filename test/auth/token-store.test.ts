import { expect, onTestFinished, test } from "vitest";
import { TokenStore } from "../../src/auth/tokens/token-store.ts";
import { TestTokens } from "../harness/tokens.ts";
import { Workspace } from "../harness/workspace.ts";

const SILENT = { info() {}, warning() {}, error() {} };

test("tells when valid tokens expire, by their names", async () => {
  await using workspace = await Workspace.create();
  const expires_at = "2999-12-31T00:00:00.000Z";
  const { path } = await TestTokens.create(workspace, {
    soon: { scopes: ["read"], expires_at },
    never: { scopes: ["read"] },
    past: { scopes: ["read"], expires_at: "2026-01-01T00:00:00.000Z" },
    revoked: { scopes: ["read"], expires_at, revoked_at: "2026-01-01T00:00:00.000Z" },
  });
  const store = await TokenStore.open({ path, log: SILENT });
  onTestFinished(() => store.close());
  const [expiries] = store.metrics;
  expect([...expiries!.read()]).toEqual([
    { value: Date.parse(expires_at) / 1000, labels: { token: "soon" } },
  ]);
});
