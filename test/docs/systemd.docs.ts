/** Follows docs/deployment/systemd.md on a Debian machine that systemd boots. */

import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BootedMachine } from "../harness/booted-machine.ts";
import { installPackage, npm, PREFIX, removePackage } from "../harness/packed-install.ts";
import { Document, repositoryPath } from "./document.ts";

const page = await Document.read("docs/deployment/systemd.md");

const SHOW_STATE = "systemctl show --property=ActiveState --property=ExecMainStatus tailgate";

let prefix: string;

beforeAll(async () => {
  prefix = await installPackage(page.example("systemd-install"));
});

afterAll(() => removePackage());

/** Boots a machine that has the package in /opt/tailgate, and nothing else of Tailgate. */
function boot(): Promise<BootedMachine> {
  return BootedMachine.boot({ [PREFIX]: prefix });
}

/** Follows the page from the package to the running service. */
async function bootWithService(): Promise<BootedMachine> {
  const machine = await boot();
  for (const step of ["systemd-files", "systemd-start", "systemd-ready"]) {
    await machine.run(page.example(step));
  }
  return machine;
}

const RECORD = `"message":"Hello from the new server"`;

/** Adds lines to the section `[Service]` of the unit. */
async function addSettings(machine: BootedMachine, ...lines: readonly string[]): Promise<void> {
  const dropIn = "/etc/systemd/system/tailgate.service.d";
  const text = ["[Service]", ...lines, ""].join(String.raw`\n`);
  await machine.run(`mkdir -p ${dropIn}; printf '${text}' > ${dropIn}/setting.conf`);
  await machine.run("systemctl daemon-reload");
}

/** Waits until a command of the shell succeeds. */
async function until(machine: BootedMachine, command: string): Promise<void> {
  await machine.run(`timeout 30 bash -c 'until ${command}; do sleep 0.1; done'`);
}

/** The gateway starts again 5 seconds after a crash. */
function untilRestarted(machine: BootedMachine): Promise<void> {
  return until(machine, "curl --fail --silent http://127.0.0.1:8001/readyz > /dev/null");
}

/** Adds a receiver that needs four seconds to open, and that blocks the event loop once /tmp of the machine has a file. */
async function addHostilePlugin(machine: BootedMachine): Promise<void> {
  await machine.run(`cat > /etc/tailgate/hostile.mjs <<'END'
import { existsSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { defineReceiver, z } from "${PREFIX}/lib/node_modules/tailgate/dist/src/plugin/index.js";
export default defineReceiver({
  name: "hostile",
  description: "Opens slowly, and may block.",
  options: z.object({}),
  async open() {
    await setTimeout(4000);
    setInterval(() => { while (existsSync("/etc/tailgate/block")); }, 100).unref();
    return {};
  },
});
END
echo 'receivers: { otlp: {}, hostile: { use: ./hostile.mjs } }' >> /etc/tailgate/tailgate.yaml`);
}

function history(machine: BootedMachine): Promise<string> {
  return machine.run("curl --fail --silent 'http://127.0.0.1:8001/api/logs?logger=deploy.check'");
}

test("the configuration on the page is that of the package", async () => {
  const file = await readFile(repositoryPath("examples/systemd/tailgate.yaml"), "utf8");
  expect(page.example("config-systemd")).toBe(file);
});

describe("the installed service", () => {
  test("is a unit that systemd understands completely, and a sandbox", async () => {
    await using machine = await bootWithService();
    const unit = "/etc/systemd/system/tailgate.service";
    // It exits with 0 for unknown keys, too.
    expect(await machine.run(`systemd-analyze verify ${unit} 2>&1`)).toBe("");
    // Tenths, as the exit code judges them: it fails if the exposure is greater.
    await machine.run(`systemd-analyze security --offline=true --threshold=15 ${unit}`);
    const command = page.command("systemd-analyze security tailgate");
    const [, exposure] = /exposure level for tailgate.service: (\S+)/.exec(
      await machine.run(command),
    )!;
    expect(page.text).toContain(`rates it ${exposure} `);
    await machine.run("! runuser -u nobody -- ls /var/log/tailgate 2>/dev/null");
    const modes = await machine.run(
      "stat --format='%U %a' /var/log/tailgate /var/lib/tailgate /etc/tailgate/tailgate.yaml /etc/tailgate/tailgate.env",
    );
    expect(modes).toBe("tailgate 700\ntailgate 700\nroot 644\nroot 600\n");
  });

  test("stores a record that survives a restart, `kill -9` and an upgrade", async () => {
    await using machine = await bootWithService();
    const ready = await machine.run(page.example("systemd-ready"));
    expect(ready.startsWith(page.command(`{"status":"ready","reason":null,`))).toBe(true);
    expect(await machine.run(page.example("systemd-record"))).toMatch(
      new RegExp(String.raw`^\{\}\{"epoch":.*${RECORD}`),
    );
    expect(await machine.run(page.example("systemd-messages"))).toContain("listening on");
    expect(await machine.run(page.example("systemd-commands"))).toMatch(
      / - INFO - Hello from the new server\n[^]*audit-file/,
    );
    await machine.run(page.command("systemctl restart tailgate"));
    await machine.run(page.example("systemd-ready"));
    expect(await history(machine)).toContain(RECORD);

    await machine.run(page.command("systemctl reload tailgate"));
    await until(
      machine,
      'journalctl --unit=tailgate | grep --quiet "not changed (tailgate reload)"',
    );
    await machine.run("kill -9 $(systemctl show --property=MainPID --value tailgate)");
    await untilRestarted(machine);
    expect(await history(machine)).toContain(RECORD);
    expect(await machine.run("systemctl show --property=NRestarts tailgate")).toBe("NRestarts=1\n");

    const [stop, install, start] = page.example("systemd-upgrade").trimEnd().split("\n");
    await machine.run(stop!);
    await npm(install!);
    await machine.run(start!);
    await machine.run(page.example("systemd-ready"));
    expect(await history(machine)).toContain(RECORD);
    const tail = page.command("/opt/tailgate/bin/node /opt/tailgate/bin/tailgate tail");
    const shown = await machine.run(`${tail} --replay 10 --no-follow`);
    expect(shown).toMatch(/ - deploy\.check - INFO - Hello from the new server\n$/);
    expect(await machine.run("cat /var/log/tailgate/orchestrator.log")).toContain(RECORD);
  });

  test("validates a changed configuration, and does not restart with an invalid one", async () => {
    await using machine = await bootWithService();
    await machine.run("echo OTLP_TOKEN=s3cret >> /etc/tailgate/tailgate.env");
    await machine.run(
      `cat >> /etc/tailgate/tailgate.yaml <<'END'\n  otlp: { endpoint: "http://collector.example.com:4318", headers: { Authorization: "Bearer \${env:OTLP_TOKEN}" } }\nEND`,
    );
    const effective = await machine.run(page.example("systemd-validate"));
    expect(effective).toContain("valid: /etc/tailgate/tailgate.yaml\n");
    expect(effective).not.toContain("s3cret");
    await machine.run("echo prot: 8002 >> /etc/tailgate/tailgate.yaml");
    await expect(machine.run(page.example("systemd-validate"))).rejects.toThrow(
      `prot: unknown key; did you mean "port"?`,
    );
    await machine.run("! systemctl reload tailgate");
    expect(await machine.run(page.example("systemd-messages"))).toContain("prot: unknown key");
    expect(await machine.run("systemctl is-active tailgate")).toBe("active\n");
    await machine.run("! systemctl restart tailgate");
    await until(
      machine,
      `[ "$(${SHOW_STATE} | tr "\\n" " ")" = "ExecMainStatus=78 ActiveState=failed " ]`,
    );
    expect(await machine.run(page.example("systemd-messages"))).toContain("CONFIG_INVALID");
  });

  test("is given more time to start, is restarted when it blocks, and stops gracefully", async () => {
    await using machine = await bootWithService();
    const status = "systemctl show --property=StatusText --value tailgate";
    expect(await machine.run(status)).toBe("Listening on http://127.0.0.1:8001\n");
    await addHostilePlugin(machine);
    await addSettings(machine, "TimeoutStartSec=2s", "WatchdogSec=2s");
    await machine.run(page.command("systemctl restart tailgate"));
    await machine.run(page.example("systemd-ready"));

    await machine.run("touch /etc/tailgate/block");
    await until(machine, "journalctl --unit tailgate | grep --quiet Watchdog.timeout");
    await machine.run("rm /etc/tailgate/block");
    await untilRestarted(machine);
    expect(await machine.run("systemctl show --property=NRestarts tailgate")).toBe("NRestarts=1\n");

    const [, post] = /`(ExecStartPost=[^`]*)`/.exec(page.text)!;
    await addSettings(machine, page.command("Type=exec"), "WatchdogSec=0", post!);
    await machine.run("systemctl restart tailgate");
    await machine.run(page.example("systemd-ready"));
    await machine.run("systemctl stop tailgate");
    const end = "--property=Result --property=ExecMainCode --property=ExecMainStatus";
    expect(await machine.run(`systemctl show ${end} tailgate`)).toBe(
      "Result=success\nExecMainCode=1\nExecMainStatus=0\n",
    );
  });

  test("may have a dynamic user, but no memory that is not executable", async () => {
    await using machine = await bootWithService();
    await addSettings(machine, page.command("DynamicUser=yes"));
    await machine.run("systemctl restart tailgate");
    await machine.run(page.example("systemd-record"));
    expect(await machine.run("readlink /var/log/tailgate")).toBe("private/tailgate\n");

    // Without AF_NETLINK.
    const families = ["", "AF_INET AF_INET6 AF_UNIX"];
    await addSettings(machine, ...families.map((names) => `RestrictAddressFamilies=${names}`));
    const auth = "auth: { tokens_file: /var/lib/tailgate/tokens.json }";
    await machine.run(
      String.raw`printf 'host: 0.0.0.0\ninsecure: true\n${auth}\n' >> /etc/tailgate/tailgate.yaml`,
    );
    await machine.run("systemctl restart tailgate");
    expect(await machine.run("cat /var/lib/tailgate/login-link")).toContain(
      "http://127.0.0.1:8001/login#",
    );

    await addSettings(machine, "Restart=no", page.command("MemoryDenyWriteExecute=yes"));
    await machine.run("! systemctl restart tailgate");
    await until(machine, "systemctl is-failed --quiet tailgate");
    expect(await machine.run("journalctl --unit tailgate --no-pager")).toContain("status=5/TRAP");
  });

  test("is removed without a trace", async () => {
    await using machine = await bootWithService();
    // The package is mounted from this machine.
    await machine.run(page.example("systemd-uninstall").replace(`${PREFIX} `, ""));
    const left = await machine.run(
      "find / -xdev -name '*tailgate*' -not -path '/opt/*' -not -path '/proc/*'",
    );
    expect(left.split("\n").filter((path) => !/^\/(sys|run)\//.test(path))).toEqual([""]);
    await machine.run("! getent passwd tailgate");
  });
});
