/** An operator's first day: the packed tarball, systemd and nginx on one machine, by the pages alone. */

import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { BootedMachine } from "../harness/booted-machine.ts";
import { installPackage, PREFIX, removePackage } from "../harness/packed-install.ts";
import { Document, repositoryPath } from "./document.ts";

const systemd = await Document.read("docs/deployment/systemd.md");
const proxy = await Document.read("docs/deployment/reverse-proxy.md");
const backup = await Document.read("docs/operations/backup-and-restore.md");

let prefix: string;

beforeAll(async () => {
  prefix = await installPackage(systemd.example("systemd-install"));
});

afterAll(() => removePackage());

test("the pages lead from the tarball to a published gateway", async () => {
  await using machine = await BootedMachine.boot({ [PREFIX]: prefix });
  for (const step of ["systemd-files", "systemd-start", "systemd-ready"]) {
    await machine.run(systemd.example(step));
  }
  // The name and the certificate are the operator's.
  await machine.run(`
echo 127.0.0.1 logs.example.com >> /etc/hosts
mkdir /etc/ssl/tailgate
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=logs.example.com -addext subjectAltName=DNS:logs.example.com -keyout /etc/ssl/tailgate/privkey.pem -out /etc/ssl/tailgate/fullchain.pem 2>&1
printf 'silent\\ncacert = /etc/ssl/tailgate/fullchain.pem\\n' > /root/.curlrc`);

  const [hosts] = proxy.example("config-proxy").split("\n");
  await machine.run(`echo '${hosts}' >> /etc/tailgate/tailgate.yaml`);
  await machine.run(systemd.example("systemd-validate"));
  await machine.run(systemd.command("systemctl restart tailgate"));

  await machine.run(`cat > /root/reader.sh <<'END'\n${proxy.example("nginx-reader")}END`);
  await machine.run(String.raw`printf 'horse\nhorse\n' | setsid --wait bash -e /root/reader.sh`);
  const password = (await machine.run(proxy.example("nginx-sender"))).trimEnd();
  await machine.run(proxy.example("nginx-files"));
  const site = await readFile(repositoryPath("examples/nginx/tailgate.conf"), "utf8");
  await machine.run(`cat > /etc/nginx/conf.d/tailgate.conf <<'END'\n${site}END`);
  await machine.run(proxy.command("nginx -t && systemctl reload nginx"));

  const withPasswords = (name: string): string =>
    proxy
      .example(name)
      .replaceAll("alice:PASSWORD", "alice:horse")
      .replaceAll("ci:PASSWORD", `ci:${password}`);
  await machine.run(systemd.example("systemd-ready"));
  expect(await machine.run(withPasswords("proxy-check"))).toMatch(/^401\n\{"status":"ready"/);
  expect(await machine.run(withPasswords("proxy-send"))).toBe("{}");
  const tail = withPasswords("proxy-tail")
    .trimEnd()
    .replace("npx tailgate", `${PREFIX}/bin/node ${PREFIX}/bin/tailgate`);
  const environment = "NODE_EXTRA_CA_CERTS=/etc/ssl/tailgate/fullchain.pem";
  expect(await machine.run(`${environment} ${tail} --no-follow`)).toMatch(
    / - deploy\.check - INFO - Hello through the proxy\n$/,
  );
});

test("the pages lead to a backup of the service, and to one that is checked", async () => {
  await using machine = await BootedMachine.boot({ [PREFIX]: prefix });
  for (const step of ["systemd-files", "systemd-start", "systemd-ready"]) {
    await machine.run(systemd.example(step));
  }
  await machine.run(
    systemd.example("systemd-record").replaceAll("deploy.check", "orchestrator.audit"),
  );
  // It signs the trail.
  await machine.run("systemctl restart tailgate");
  await machine.run(systemd.example("systemd-ready"));

  await machine.run(systemd.example("systemd-record"));

  await machine.run(backup.example("backup-service"));
  expect(await machine.run("ls /var/backups/tailgate-*/")).toContain("journal.db-wal");
  await machine.run(backup.example("backup-timer"));
  expect(await machine.run("systemctl is-enabled tailgate-backup.timer")).toBe("enabled\n");
  expect(await machine.run("systemd-analyze verify tailgate-backup.service 2>&1")).toBe("");

  await machine.run(
    `systemd-run --quiet --unit=check bash -ec '${backup.example("backup-check-service")}'`,
  );
  const check = backup.example("backup-check");
  // Nothing tells systemd when this one is ready.
  await machine.run(
    "curl -sS --retry 60 --retry-connrefused --retry-delay 1 http://127.0.0.1:8101/readyz",
  );
  expect(await machine.run(check)).toMatch(
    /^tailgate_journal_damage 0\n\{.*"message":"Hello from the new server"/,
  );
  expect(await machine.run("journalctl --unit=check --output=cat")).toMatch(
    /^The audit trail is intact\.$/m,
  );

  await machine.run("systemctl stop tailgate");
  await machine.run("! systemctl start tailgate-backup");
  expect(await machine.run("ls /var/backups/tailgate/")).toContain("journal.db-wal");
  expect(await machine.run("journalctl --unit=tailgate-backup --output=cat")).toContain(
    "The gateway is not running",
  );
});
