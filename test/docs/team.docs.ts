/** Follows docs/deployment/team.md with two machines: two network namespaces with a cable between them. */

import { chmod, copyFile, cp, readlink, symlink } from "node:fs/promises";
import { dirname } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { launch, type Page } from "puppeteer-core";
import { MAIN, Program, requireInstalled, requirePython, skipTest } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document, repositoryPath } from "./document.ts";

const page = await Document.read("docs/deployment/team.md");

const HOST = "logs.example.com";
const GATEWAY_ADDRESS = "10.77.0.1";
const CLIENT_ADDRESS = "10.77.0.2";

/** A machine with a network of its own, and a directory of its user. */
class Machine {
  readonly workspace: Workspace;
  readonly pid: number;

  private constructor(workspace: Workspace, pid: number) {
    this.workspace = workspace;
    this.pid = pid;
  }

  static async boot(): Promise<Machine> {
    const workspace = await Workspace.create();
    const own = await readlink("/proc/self/ns/net");
    const args = ["--net", "--mount", "sleep", "infinity"];
    const holder = new Program("unshare", args, { cwd: "/" });
    onTestFinished(async () => {
      await holder[Symbol.asyncDispose]();
      await workspace[Symbol.asyncDispose]();
    });
    const { pid } = holder.process;
    await vi.waitUntil(async () => (await readlink(`/proc/${pid}/ns/net`)) !== own);
    return new Machine(workspace, pid!);
  }

  /** The command that runs another one here. */
  get enter(): string[] {
    const { directory } = this.workspace;
    return ["nsenter", "-t", String(this.pid), "--net", "--mount", `--wdns=${directory}`, "--"];
  }

  /** Starts a script in the user's directory. */
  start(script: string): Program {
    const { workspace } = this;
    const env = {
      HOME: workspace.directory,
      XDG_CONFIG_HOME: workspace.path(".config"),
      npm_config_cache: workspace.path(".npm"),
    };
    const [command, ...args] = [...this.enter, "bash", "-ec", withCommand(script)];
    return new Program(command, args, { cwd: workspace.directory, env });
  }

  /** Runs a script, which must succeed; returns its stdout. */
  async run(script: string): Promise<string> {
    await using program = this.start(script);
    const end = await program.ended;
    if (end !== 0) throw new Error(`${script} ended with ${end}:\n${program.stderr}`);
    return program.stdout;
  }
}

/** The package is not installed here. */
function withCommand(script: string): string {
  return script.replaceAll("npx tailgate", `"${process.execPath}" "${MAIN}"`);
}

/** Boots two machines that are connected, and on which the gateway's name is known. */
async function bootMachines(): Promise<{ gateway: Machine; client: Machine }> {
  const [gateway, client] = [await Machine.boot(), await Machine.boot()];
  await gateway.run(`
ip link add eth0 type veth peer name eth0 netns ${client.pid}
ip address add ${GATEWAY_ADDRESS}/24 dev eth0
ip link set lo up; ip link set eth0 up`);
  await client.run(`
ip address add ${CLIENT_ADDRESS}/24 dev eth0
ip link set lo up; ip link set eth0 up`);
  for (const machine of [gateway, client]) {
    await machine.workspace.write("hosts", `127.0.0.1 localhost\n${GATEWAY_ADDRESS} ${HOST}\n`);
    await machine.run("mount --make-rprivate /; mount --bind hosts /etc/hosts");
  }
  return { gateway, client };
}

/** Opens a page in Chromium on the machine. */
async function openPage(machine: Machine, url: string): Promise<Page> {
  const chromium = await requireInstalled("chromium", "chromium");
  await machine.workspace.write(
    "chromium",
    `#!/bin/sh\nexec ${machine.enter.join(" ")} ${chromium} "$@"\n`,
  );
  await chmod(machine.workspace.path("chromium"), 0o755);
  const browser = await launch({
    executablePath: machine.workspace.path("chromium"),
    // The debugging port would be on the other machine.
    pipe: true,
    args: ["--no-sandbox"],
    // In place of the import of ca.pem.
    acceptInsecureCerts: true,
  });
  onTestFinished(() => browser.close());
  const opened = await browser.newPage();
  await opened.goto(url);
  return opened;
}

test("a team uses a gateway from another machine, as the page says", async () => {
  if (process.getuid?.() !== 0) skipTest("Only root can create network namespaces.");
  for (const [program, debianPackage] of [
    ["ip", "iproute2"],
    ["script", "bsdutils"],
    ["nsenter", "util-linux"],
    ["openssl", "openssl"],
  ] as const) {
    await requireInstalled(program, debianPackage);
  }
  const python = await requirePython();
  const { gateway, client } = await bootMachines();

  await gateway.run(page.example("team-certificate"));
  await gateway.workspace.write("tailgate.yaml", page.example("team-config"));
  const command = withCommand(page.example("team-start").trim());
  // A terminal, to which the link is printed. The gateway does not end with it.
  const script = `echo $$ > gateway.pid; exec ${command}`;
  await using running = gateway.start(
    `exec script --quiet --return --command '${script}' /dev/null`,
  );
  onTestFinished(async () => void (await gateway.run("kill -9 $(cat gateway.pid) || true")));
  const [, link] = await running.untilStdout(/(https:\/\/logs\.example\.com:8001\/\S+#\S+)/);
  const { directory } = gateway.workspace;
  const printed = running.stdout
    .replaceAll("\r", "")
    .replaceAll(directory, "/home/you")
    .replace(/Node\.js \S+/, "Node.js 24.21.0")
    .replace(/expires \S+/, "expires 2027-11-30");
  expect(printed).toContain(page.listings[0]);

  // The browser of the administrator.
  const dashboard = await openPage(client, link!);
  await gateway.run(page.example("team-tokens"));
  for (const name of ["ca.pem", "ci.token", "alice.token"]) {
    await copyFile(gateway.workspace.path(name), client.workspace.path(name));
  }
  await cp(repositoryPath("examples/python"), client.workspace.directory, { recursive: true });
  await symlink(dirname(dirname(python)), client.workspace.path(".venv"));
  await dashboard.waitForSelector(".panel");
  await client.run(page.example("team-python"));
  await dashboard.waitForFunction(() =>
    document.body.innerText.includes("High memory usage detected"),
  );
  expect(dashboard.url()).toBe(`https://${HOST}:8001/`);

  await using tail = client.start(page.example("team-tail"));
  await tail.untilStdout(/ - worker\.orders - WARNING - High memory usage detected/);
  await tail.untilStdout(/AUDIT order_canceled .*ingested_by=token:ci/);

  const status = "--output /dev/null --silent --write-out '%{http_code}'";
  const unreadable = page.command(`curl --cacert ca.pem https://${HOST}:8001/api/logs`);
  expect(await client.run(`${unreadable} ${status}`)).toBe("401");
  // Each token can do what it is for, and nothing else.
  const withToken = `${unreadable} ${status} -H "Authorization: Bearer $(cat NAME.token)"`;
  expect(await client.run(withToken.replace("NAME", "alice"))).toBe("200");
  expect(await client.run(withToken.replace("NAME", "ci"))).toBe("403");
  expect(await gateway.run(page.command("npx tailgate token list"))).toMatch(
    /^ci .*ingest[^]*^alice .*read/m,
  );
});
