import { readFile, stat } from "node:fs/promises";
import { expect, onTestFinished, test, vi } from "vitest";
import { Dashboard, DashboardGateway } from "../harness/dashboard.ts";
import { GatewayProcess } from "../harness/gateway.ts";
import { TestTokens } from "../harness/tokens.ts";
import { Workspace } from "../harness/workspace.ts";
import { View } from "./browser.ts";

const WAIT = { timeout: 15_000 };

/**
 * What browsers report about a request that the gateway rejects. 426: the page has asked why it lost its WebSocket when it
 * was signed in again already.
 */
const REJECTED = /status of (?:401|426)|valid credentials|WebSocket connection/;

async function startSecured(): Promise<{ gateway: DashboardGateway; tokens: TestTokens }> {
  const workspace = await Workspace.create();
  const tokens = await TestTokens.create(workspace, {
    sender: { scopes: ["ingest"] },
    boss: { scopes: ["admin"] },
    reader: { scopes: ["read"], filter: "logger:app" },
    limited: { scopes: ["read:system"] },
  });
  const config = `auth: { tokens_file: ${tokens.path} }`;
  const gateway = await DashboardGateway.start(config, tokens.bearer("sender"));
  onTestFinished(async () => {
    await gateway[Symbol.asyncDispose]();
    await workspace[Symbol.asyncDispose]();
  });
  return { gateway, tokens };
}

async function signIn(dashboard: Dashboard, token: string): Promise<void> {
  await dashboard.page.locator("input[name=token]").fill(token);
  await dashboard.page.keyboard.press("Enter");
}

async function showsLive(dashboard: Dashboard): Promise<void> {
  await dashboard.page.waitForSelector(".connection[data-state=live]", WAIT);
}

function says(dashboard: Dashboard, selector: string, text: string): Promise<void> {
  return vi.waitFor(async () => expect(await dashboard.text(selector)).toBe(text), WAIT);
}

test("a token signs in to the view that the user has opened", async () => {
  const { gateway, tokens } = await startSecured();
  await gateway.post([{ message: "hello", logger: "app" }]);
  await using dashboard = await gateway.open({}, "/?q=hello");
  await dashboard.page.waitForSelector(".sign-in");
  // Nothing is wrong before anyone has tried.
  expect(dashboard.view.complaints).toEqual([]);
  dashboard.ignoreComplaint(REJECTED);
  await signIn(dashboard, "tgw_wrong");
  await says(
    dashboard,
    ".sign-in-problem",
    "The credentials are not a token of this gateway: expected tgw_ and 62 more characters.",
  );
  await signIn(dashboard, tokens.text("reader"));
  await showsLive(dashboard);
  await dashboard.showsLast("system_log", "hello");
  expect(new URL(dashboard.page.url()).search).toBe("?q=hello");
  await dashboard.click(".account");
  expect(await dashboard.text("[data-type=system_log] .panel-state")).toBe(
    "Live · Your access is limited to logger:app",
  );
  const facts = await dashboard.text(".account-menu dl");
  expect(facts).toContain("token:reader");
  expect(facts).toContain("read:system, read:audit");
  expect(facts).toContain("logger:app");
  // The token is nowhere in the page, and scripts cannot read the cookie.
  const stored = await dashboard.page.evaluate(() =>
    JSON.stringify([document.cookie, localStorage, sessionStorage, document.body.innerHTML]),
  );
  expect(stored).not.toContain(tokens.text("reader").slice(17));
  expect(stored).not.toContain("tailgate-");
});

test("the first administrator signs in with the link of a new gateway, once", async () => {
  await using workspace = await Workspace.create();
  const tokensFile = workspace.path("keys/tokens.json");
  await using gateway = await GatewayProcess.start(`auth: { tokens_file: ${tokensFile} }`);
  const linkFile = workspace.path("keys/login-link");
  await vi.waitFor(() => expect(gateway.stderr).toContain(linkFile), WAIT);
  expect((await stat(linkFile)).mode & 0o777).toBe(0o600);
  const link = (await readFile(linkFile, "utf8")).trim();
  expect(gateway.stderr).not.toContain(new URL(link).hash);
  await using dashboard = new Dashboard(await View.open(link));
  await showsLive(dashboard);
  expect(dashboard.page.url()).toBe(`${gateway.url}/`);
  expect(await dashboard.text(".account")).toBe("admin");
  await using again = new Dashboard(await View.open(link));
  again.ignoreComplaint(REJECTED);
  await says(
    again,
    ".sign-in-reason",
    "The login link is not valid: it was used, or is older than 10 minutes. Sign in with a token.",
  );
  expect(again.page.url()).toBe(`${gateway.url}/`);
});

test("signing out leaves nothing on the page, and signs out the other pages of the browser", async () => {
  const { gateway, tokens } = await startSecured();
  await using dashboard = await gateway.open();
  await signIn(dashboard, tokens.text("boss"));
  await showsLive(dashboard);
  const other = await dashboard.page.browserContext().newPage();
  await other.goto(gateway.url);
  await other.waitForSelector(".connection[data-state=live]", WAIT);
  await dashboard.page.bringToFront();
  dashboard.ignoreComplaint(REJECTED);
  await dashboard.click(".account");
  await dashboard.click(".account-menu button ::-p-text(Sign out)");
  await dashboard.page.waitForSelector(".sign-in-page", WAIT);
  expect(await dashboard.page.$(".panel")).toBeNull();
  await other.bringToFront();
  await other.waitForSelector(".sign-in-dialog", WAIT);
});

test("when the session ends, the page stays, and resumes after the user has signed in again", async () => {
  const { gateway, tokens } = await startSecured();
  await gateway.post([{ message: "before" }]);
  await using dashboard = await gateway.open();
  await signIn(dashboard, tokens.text("boss"));
  await showsLive(dashboard);
  await dashboard.showsLast("system_log", "before");
  dashboard.ignoreComplaint(REJECTED);
  await dashboard.click(".account");
  await dashboard.click(".account-menu button ::-p-text(Sessions)");
  await dashboard.page.waitForSelector(".sessions li em", WAIT);
  await dashboard.click(".sessions button");
  await dashboard.page.waitForSelector(".sign-in-dialog", WAIT);
  expect(await dashboard.text(".sign-in-reason")).toBe(
    "Your session has ended. Sign in to continue where you left off.",
  );
  await dashboard.page.keyboard.press("Escape");
  await dashboard.page.keyboard.press("Escape");
  expect(await dashboard.messages("system_log")).toEqual(["before"]);
  await gateway.post([{ message: "meanwhile" }]);
  await signIn(dashboard, tokens.text("boss"));
  await showsLive(dashboard);
  await dashboard.page.waitForSelector(".sign-in-dialog", { hidden: true, ...WAIT });
  await vi.waitFor(async () => {
    expect(await dashboard.messages("system_log")).toEqual(["before", "meanwhile"]);
  }, WAIT);
});

test("revoking the token signs out at once, and another user starts anew", async () => {
  const { gateway, tokens } = await startSecured();
  await gateway.post([{ message: "for the boss" }, { message: "for all", logger: "app" }]);
  await using dashboard = await gateway.open();
  await signIn(dashboard, tokens.text("boss"));
  await dashboard.showsLast("system_log", "for all");
  dashboard.ignoreComplaint(REJECTED);
  await tokens.revoke("boss");
  await dashboard.page.waitForSelector(".sign-in-dialog", WAIT);
  await says(dashboard, ".connection", "Signed out");
  await signIn(dashboard, tokens.text("reader"));
  await vi.waitFor(async () => {
    expect(await dashboard.messages("system_log")).toEqual(["for all"]);
  }, WAIT);
  expect(await dashboard.text(".account")).toBe("reader");
});

test("a panel says why it is empty for a user without its scope", async () => {
  const { gateway, tokens } = await startSecured();
  await gateway.post([{ message: "hello" }]);
  await using dashboard = await gateway.open();
  await signIn(dashboard, tokens.text("limited"));
  await dashboard.showsLast("system_log", "hello");
  expect(await dashboard.text("[data-type=audit_log] .no-access")).toBe(
    "No access to audit eventstoken:limited lacks the scope read:audit.",
  );
  await showsLive(dashboard);
  expect(await dashboard.text(".audit-chain")).toBe("");
  expect(dashboard.view.complaints).toEqual([]);
});

test("the page of a user who may read nothing asks for nothing", async () => {
  const { gateway, tokens } = await startSecured();
  await using dashboard = await gateway.open();
  const requests: string[] = [];
  dashboard.page.on("request", (request) => requests.push(new URL(request.url()).pathname));
  await signIn(dashboard, tokens.text("sender"));
  await dashboard.page.waitForSelector("[data-type=system_log] .no-access", WAIT);
  await dashboard.page.waitForNetworkIdle();
  expect(requests.filter((path) => !path.startsWith("/assets/"))).toEqual(["/api/login"]);
  expect(dashboard.view.complaints).toEqual([]);
});

test("a user of the proxy who has no access learns why", async () => {
  await using workspace = await Workspace.create();
  const config = `{ trusted_proxies: [127.0.0.1], auth: { tokens_file: ${workspace.path("t.json")}, proxy: { user_header: X-User } } }`;
  await using gateway = await GatewayProcess.start(config);
  await using dashboard = new Dashboard(await View.open(gateway.url));
  dashboard.ignoreComplaint(/status of 403/);
  await dashboard.page.setExtraHTTPHeaders({ "X-User": "bob" });
  await dashboard.view.reload();
  await says(
    dashboard,
    ".sign-in-reason",
    "user:bob may not use this gateway: neither the user nor one of the groups is in auth.proxy.",
  );
});

test("two gateways on two ports of one host keep their users apart", async () => {
  const [one, other] = [await startSecured(), await startSecured()];
  await using first = await one.gateway.open();
  await signIn(first, one.tokens.text("boss"));
  await showsLive(first);
  const page = await first.page.browserContext().newPage();
  await page.goto(other.gateway.url);
  await page.locator("input[name=token]").fill(other.tokens.text("reader"));
  await page.keyboard.press("Enter");
  await page.waitForSelector(".connection[data-state=live]", WAIT);
  await first.page.bringToFront();
  await first.view.reload();
  await showsLive(first);
  expect(await first.text(".account")).toBe("boss");
  expect(await page.$eval(".account", (button) => button.textContent)).toBe("reader");
});
