/** Installs the units of examples/audit on a Debian machine that systemd boots, and changes its audit trail. */

import { afterAll, beforeAll, expect, test } from "vitest";
import { BootedMachine } from "../harness/booted-machine.ts";
import { installPackage, PREFIX, removePackage } from "../harness/packed-install.ts";
import { Document } from "./document.ts";

const page = await Document.read("docs/audit-trail.md");
const deployment = await Document.read("docs/deployment/systemd.md");

/** Writes each request's body to a file. */
const ALARM_SERVER = `require("node:http").createServer(async (request, response) => {
  const body = (await request.toArray()).join("");
  require("node:fs").writeFileSync("/run/posted", body);
  response.end();
}).listen(9000, "127.0.0.1");`;

const EVENT = `{ "resourceLogs": [{ "scopeLogs": [{ "scope": { "name": "orchestrator.audit" },
  "logRecords": [{ "body": { "stringValue": "deploy_rejected" } }] }] }] }`;

let prefix: string;

beforeAll(async () => {
  prefix = await installPackage(deployment.example("systemd-install"));
});

afterAll(() => removePackage());

test("a unit that fails for a changed trail starts the one that posts its report", async () => {
  await using machine = await BootedMachine.boot({ [PREFIX]: prefix });
  for (const step of ["systemd-files", "systemd-start", "systemd-ready"]) {
    await machine.run(deployment.example(step));
  }
  await machine.run(
    `curl -fsS http://127.0.0.1:4318/v1/logs -H 'Content-Type: application/json' -d '${EVENT}'`,
  );
  await machine.run("systemctl stop tailgate");
  expect(await machine.run(page.example("audit-verify-service"))).toMatch(
    /^The audit trail is intact\.$/m,
  );

  await machine.run(page.example("audit-systemd").replaceAll("sudo ", ""));
  expect(await machine.run("systemctl is-enabled tailgate-audit.timer")).toBe("enabled\n");
  await machine.run("systemctl start tailgate-audit.service");
  const report = "journalctl --unit=tailgate-audit.service --output=cat";
  expect(await machine.run(report)).toContain("The audit trail is intact.");

  await machine.run(`systemd-run --quiet ${PREFIX}/bin/node -e '${ALARM_SERVER}'
    sed -i s,https://ntfy.example.com/audit,http://127.0.0.1:9000/, /etc/systemd/system/tailgate-audit-alarm.service
    systemctl daemon-reload
    sed -i s/deploy_rejected/deploy_approved/ /var/log/tailgate/audit/audit_*.jsonl
    ! systemctl start tailgate-audit.service
    timeout 30 bash -c 'until [ -s /run/posted ]; do sleep 0.1; done'`);
  expect(await machine.run("systemctl show --property=ExecMainStatus tailgate-audit")).toBe(
    "ExecMainStatus=1\n",
  );
  const posted = await machine.run("cat /run/posted");
  expect(posted).toMatch(/^tailgate-audit\.service on \S+: exit-code\n/);
  expect(posted).toMatch(
    /AUDIT_TRAIL_BROKEN: The audit trail is broken\.\n {2}audit_\d{8}\.jsonl:1: /,
  );
  // That of the first run.
  expect(posted).not.toContain("The audit trail is intact.");
});
