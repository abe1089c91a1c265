/** Follows docs/deployment/ssh-tunnel.md with OpenSSH's own server. */

import { once } from "node:events";
import { mkdir, readFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { BootedMachine } from "../harness/booted-machine.ts";
import { GatewayProcess } from "../harness/gateway.ts";
import { postMessages } from "../harness/otlp.ts";
import { installPackage, PREFIX, removePackage } from "../harness/packed-install.ts";
import { Program, requireInstalled, startCli } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document, repositoryPath } from "./document.ts";

const page = await Document.read("docs/deployment/ssh-tunnel.md");
const systemdPage = await Document.read("docs/deployment/systemd.md");

/** Starts a server that knows one key; returns a shell function `ssh` that reaches it under any host name. */
async function startServer(): Promise<string> {
  const path = await requireInstalled("sshd", "openssh-server");
  await requireInstalled("ssh", "openssh-client");
  const workspace = await Workspace.create();
  onTestFinished(() => workspace[Symbol.asyncDispose]());
  const { directory: cwd } = workspace;
  const keys = "for name in host user; do ssh-keygen -q -t ed25519 -N '' -f $name; done";
  await Program.run("bash", ["-ec", keys], { cwd });
  // It is hard-wired.
  await mkdir("/run/sshd", { recursive: true });
  const port = await freePort();
  await workspace.write(
    "sshd_config",
    `Port ${port}\nListenAddress 127.0.0.1\nHostKey ${cwd}/host\nAuthorizedKeysFile ${cwd}/user.pub\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n`,
  );
  const server = new Program(path, ["-D", "-e", "-f", `${cwd}/sshd_config`], { cwd });
  onTestFinished(() => server[Symbol.asyncDispose]());
  await server.untilStderr(/Server listening/);
  await workspace.write(
    "ssh_config",
    `Host *\n  HostName 127.0.0.1\n  Port ${port}\n  IdentityFile ${cwd}/user\n  UserKnownHostsFile ${cwd}/known_hosts\n  StrictHostKeyChecking accept-new\n`,
  );
  return `ssh() { exec "$(type -P ssh)" -v -F ${cwd}/ssh_config "$@"; }`;
}

async function freePort(): Promise<number> {
  await using server = createServer();
  await once(server.listen(0, "127.0.0.1"), "listening");
  return (server.address() as AddressInfo).port;
}

/** Runs `ssh` until the test ends; resolves when the forwarding is established. */
async function openTunnel(command: string, established: RegExp): Promise<void> {
  const ssh = await startServer();
  const tunnel = new Program("bash", ["-ec", `${ssh}\n${command}`], { cwd: "/" });
  onTestFinished(() => tunnel[Symbol.asyncDispose]());
  await tunnel.untilStderr(established);
}

const OTLP = "receivers: { otlp: { port: 0, grpc_port: null } }\n";

test("-L shows the dashboard and feeds `tailgate tail`", async () => {
  await using gateway = await GatewayProcess.start(OTLP);
  const port = await freePort();
  const command = page
    .example("tunnel-dashboard")
    .replace("9001", `${port}`)
    .replace("8001", `${gateway.port}`);
  await openTunnel(command, /Local forwarding listening on 127\.0\.0\.1/);
  const dashboard = await fetch(`http://localhost:${port}/`);
  expect(await dashboard.text()).toContain("<title>");
  const [, , ...words] = page
    .example("tunnel-tail")
    .replace("9001", `${port}`)
    .trimEnd()
    .split(" ");
  await using tail = startCli(words);
  await postMessages(await gateway.endpoint("OTLP/HTTP"), ["through the tunnel"]);
  await tail.untilStdout(/through the tunnel\n/);
});

test("-R lets a server send to the gateway of a computer", async () => {
  await using gateway = await GatewayProcess.start(OTLP);
  const port = await freePort();
  const { port: otlpPort } = new URL(await gateway.endpoint("OTLP/HTTP"));
  const command = page
    .example("tunnel-reverse")
    .replace("4318:", `${port}:`)
    .replace(":4318", `:${otlpPort}`);
  await openTunnel(command, /remote forward success/);
  expect(await postMessages(`http://127.0.0.1:${port}`, ["from a server"])).toBe(200);
});

describe("the permanent tunnel", () => {
  let prefix: string;

  beforeAll(async () => {
    prefix = await installPackage(systemdPage.example("systemd-install"));
  });

  afterAll(() => removePackage());

  test("sends with a key that can do nothing else, and comes back after a failure", async () => {
    await using machine = await BootedMachine.boot({ [PREFIX]: prefix });
    const follow = (name: string, replace = (text: string) => text): Promise<string> =>
      machine.run(replace(page.example(name)));
    await machine.run("echo 127.0.0.1 logs.example.com >> /etc/hosts");
    for (const step of ["systemd-files", "systemd-start", "systemd-ready"]) {
      await machine.run(systemdPage.example(step));
    }
    // On one machine the gateway and the tunnel cannot listen on the same ports.
    const unit = (await readFile(repositoryPath(UNIT), "utf8"))
      .replace("-L 127.0.0.1:4318:", "-L 127.0.0.1:24318:")
      .replace("-L 127.0.0.1:4317:", "-L 127.0.0.1:24317:");
    await machine.run(`cat > /etc/systemd/system/tailgate-tunnel.service <<'END'\n${unit}END`);
    const verify = "systemd-analyze verify /etc/systemd/system/tailgate-tunnel.service 2>&1";
    expect(await machine.run(verify)).toBe("");

    const key = await follow("tunnel-key");
    await follow("tunnel-accept", (text) => text.replace("PUBLIC_KEY", key.trimEnd()));
    expect(await follow("tunnel-start")).toMatch(
      /^256 SHA256:\S+ logs\.example\.com \(ED25519\)$/m,
    );
    const check = (): Promise<string> =>
      follow("tunnel-check", (text) => text.replace(":4318", ":24318"));
    expect(await check()).toBe("{}");
    expect(await machine.run("curl --fail --silent http://127.0.0.1:8001/api/logs")).toContain(
      "Hello through the tunnel",
    );

    await machine.run("kill -9 $(systemctl show --property=MainPID --value tailgate-tunnel)");
    expect(await check()).toBe("{}");

    const ssh = "runuser -u tailgate-tunnel -- ssh -o BatchMode=yes";
    const host = "tailgate-senders@logs.example.com";
    await machine.run(`! ${ssh} ${host} true`);
    // The forwarding is accepted by the client, and refused by the server when it is used.
    const read = `${ssh} -N -L 127.0.0.1:9001:127.0.0.1:8001 ${host} & trap 'kill $!' EXIT`;
    await machine.run(
      `${read}; until ss --listening --tcp --numeric | grep --quiet 9001; do sleep 0.1; done; ! curl --silent http://127.0.0.1:9001/`,
    );
    // The OTLP port has nothing to read.
    const status = "curl --silent --output /dev/null --write-out '%{http_code}'";
    expect(await machine.run(`${status} http://127.0.0.1:24318/api/logs`)).toBe("404");
  });
});

const UNIT = "examples/ssh-tunnel/tailgate-tunnel.service";
