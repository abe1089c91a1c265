/** Runs what docs/operations/metrics.md, docs/operations/monitoring.md and examples/monitoring show. */

import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import WebSocket from "ws";
import { parse, stringify } from "yaml";
import { GatewayProcess } from "../harness/gateway.ts";
import { postMessages } from "../harness/otlp.ts";
import { Program, skipTest } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document, repositoryPath } from "./document.ts";
import { knownMetrics } from "./names.ts";

const run = promisify(execFile);

const metricsPage = await Document.read("docs/operations/metrics.md");
const page = await Document.read("docs/operations/monitoring.md");

const FOLDER = "examples/monitoring";

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly for?: string;
}

async function exampleFile(name: string): Promise<string> {
  return readFile(repositoryPath(`${FOLDER}/${name}`), "utf8");
}

interface RuleFile {
  readonly groups: readonly { readonly name: string; readonly rules: readonly Rule[] }[];
}

const rules = parse(await exampleFile("alerts.yaml")) as RuleFile;
const alerts = rules.groups.flatMap((group) => group.rules);

const setup = "which this test needs: npm run setup:docs, or apt-get install prometheus";

async function promtool(args: readonly string[], cwd = repositoryPath(FOLDER)): Promise<string> {
  try {
    await run("promtool", ["--version"]);
  } catch (error) {
    skipTest(`promtool is missing, ${setup}`, error);
  }
  return Program.run("promtool", args, { cwd });
}

describe("the alert rules", () => {
  test("are valid, and so is the configuration that loads them", async () => {
    expect(await promtool(["check", "rules", "alerts.yaml"])).toContain("rules found");
    expect(await promtool(["check", "config", "prometheus.yaml"])).toContain("is valid");
  });

  test("pass their unit tests, with the command of the page", async () => {
    await promtool(["--version"]);
    const command = page.example("promtool-test");
    const shown = await Program.run("bash", ["-c", command], { cwd: repositoryPath(".") });
    expect(shown).toContain("SUCCESS");
  });

  test.each(alerts)("$alert is unit-tested: without it the tests fail", async ({ alert }) => {
    const groups = rules.groups.map((group) => ({
      ...group,
      rules: group.rules.filter((rule) => rule.alert !== alert),
    }));
    await using workspace = await Workspace.create({
      "alerts.yaml": stringify({ groups }),
      "alerts.test.yaml": await exampleFile("alerts.test.yaml"),
    });
    const testing = promtool(["test", "rules", "alerts.test.yaml"], workspace.directory);
    await expect(testing).rejects.toThrow("FAILED");
  });

  test("are loaded with the scrape configuration that the page shows", async () => {
    expect(await exampleFile("prometheus.yaml")).toContain(page.example("prometheus-scrape"));
  });

  test("are loaded with the scrape configuration for a reverse proxy, too", async () => {
    const proxied = await Document.read("docs/deployment/reverse-proxy.md");
    await using workspace = await Workspace.create({ password: "secret" });
    const password = workspace.path("password");
    const config = proxied
      .example("proxy-prometheus")
      .replace("/etc/prometheus/tailgate.password", password);
    await workspace.write("prometheus.yaml", config);
    expect(config).toContain(password);
    const jobs = (text: string): unknown =>
      (parse(text) as { scrape_configs: { job_name: unknown }[] }).scrape_configs[0]?.job_name;
    expect(jobs(config)).toBe(jobs(page.example("prometheus-scrape")));
    const checked = await promtool(["check", "config", workspace.path("prometheus.yaml")]);
    expect(checked).toContain("is valid");
  });

  test("select metrics and labels that exist", async () => {
    for (const { expr } of alerts) await expectKnownNames(expr);
  });

  test("are explained on the page, each in a row of its own", () => {
    const rows = Array.from(page.text.matchAll(/^\| `(Tailgate\w+)` \|/gm), ([, name]) => name);
    expect(rows).toEqual(alerts.map(({ alert }) => alert));
  });
});

/** Words of PromQL that are neither metrics nor labels. */
const FUNCTIONS = new Set(
  "sum min max count by on and unless without rate increase delta deriv changes predict_linear histogram_quantile up time".split(
    " ",
  ),
);

/** Labels that Prometheus adds. */
const TARGET_LABELS = ["job", "instance", "le"];

async function expectKnownNames(expr: string): Promise<void> {
  const metrics = await knownMetrics();
  const labels = new Set([...TARGET_LABELS, ...metrics.flatMap((metric) => metric.labels)]);
  const names = new Set(
    metrics.flatMap(({ name, type }) =>
      type === "histogram" ? ["bucket", "sum", "count"].map((part) => `${name}_${part}`) : [name],
    ),
  );
  const withoutTexts = expr.replaceAll(/"[^"]*"|\[[^\]]*\]|#.*/g, "");
  for (const [word] of withoutTexts.matchAll(/[A-Za-z_]\w*/g)) {
    const isKnown = names.has(word) || labels.has(word) || FUNCTIONS.has(word);
    expect(isKnown, `${word} in ${expr}`).toBe(true);
  }
}

interface Panel {
  readonly title: string;
  readonly type: string;
  readonly description?: string;
  readonly gridPos: {
    readonly x: number;
    readonly y: number;
    readonly w: number;
    readonly h: number;
  };
  readonly targets?: readonly { readonly expr: string }[];
}

interface Dashboard {
  readonly panels: readonly Panel[];
  readonly annotations: { readonly list: readonly { readonly expr: string }[] };
  readonly templating: {
    readonly list: readonly { readonly name: string; readonly type: string }[];
  };
}

describe("the Grafana dashboard", async () => {
  const dashboard = JSON.parse(await exampleFile("grafana-dashboard.json")) as Dashboard;
  const panels = dashboard.panels.filter(({ type }) => type !== "row");
  const expressions = [
    ...panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
    ...dashboard.annotations.list.map(({ expr }) => expr),
  ].map((expr) => expr.replaceAll("$__rate_interval", "1m").replaceAll("$instance", ".*"));

  test("has expressions that Prometheus parses", async () => {
    const recording = expressions.map((expr, index) => ({ record: `panel:${index}`, expr }));
    await using workspace = await Workspace.create({
      "rules.yaml": stringify({ groups: [{ name: "panels", rules: recording }] }),
    });
    const shown = await promtool(["check", "rules", "rules.yaml"], workspace.directory);
    expect(shown).toContain(`${expressions.length} rules found`);
  });

  test("selects metrics and labels that exist", async () => {
    expect(expressions.length).toBeGreaterThan(30);
    for (const expr of expressions) await expectKnownNames(expr);
  });

  test("lets users choose the data source, and its panels do not overlap", () => {
    expect(dashboard.templating.list).toMatchObject([
      { name: "datasource", type: "datasource" },
      { name: "instance", type: "query" },
    ]);
    const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from(
        { length: w * h },
        (_, index) => `${x + (index % w)},${y + Math.floor(index / w)}`,
      ),
    );
    expect(new Set(cells).size).toBe(cells.length);
  });
});

test("the commands of both pages that ask a gateway work", async () => {
  await using gateway = await startGateway();
  const shownBy = (command: string): Promise<string> =>
    Program.run("bash", ["-c", command.replaceAll("http://127.0.0.1:8001", gateway.url)], {
      cwd: "/",
    });
  expect(await shownBy(metricsPage.example("scrape-metrics"))).toContain(
    'tailgate_records_accepted_total{component="intake",kind="intake"} 0\n',
  );
  const [live, ready] = (await shownBy(page.example("health-checks"))).trimEnd().split("\n");
  expect(live).toBe('{"status":"ok"}');
  expect(JSON.parse(ready!)).toMatchObject({ status: "ready", reason: null });
  const stats = await shownBy(page.example("stats"));
  expect(stats).toContain('"id": "intake"');
});

test("promtool finds nothing wrong with the metrics of a real gateway", async () => {
  await promtool(["--version"]);
  await using gateway = await startGateway();
  await postMessages(gateway.url, ["one"]);
  const command = `curl -s ${gateway.url}/metrics | promtool check metrics`;
  expect(await Program.run("bash", ["-o", "pipefail", "-c", command], { cwd: "/" })).toBe("");
});

/** A Prometheus with the rules as they are, but without waiting times, that scrapes every second. */
class Prometheus {
  readonly #url: string;

  private constructor(url: string) {
    this.#url = url;
  }

  /** Runs until the test ends. */
  static async start(targets: Readonly<Record<string, string>>): Promise<Prometheus> {
    const immediate = rules.groups.map((group) => ({
      ...group,
      // A prediction from a few seconds says nothing.
      rules: group.rules.map((rule) =>
        rule.expr.includes("predict_linear") ? rule : { ...rule, for: "0s" },
      ),
    }));
    const config = {
      global: { scrape_interval: "1s", scrape_timeout: "1s", evaluation_interval: "1s" },
      rule_files: ["alerts.yaml"],
      scrape_configs: [
        {
          job_name: "tailgate",
          static_configs: Object.entries(targets).map(([instance, target]) => ({
            targets: [new URL(target).host],
            labels: { instance },
          })),
        },
      ],
    };
    const workspace = await Workspace.create({
      "alerts.yaml": stringify({ groups: immediate }),
      "prometheus.yaml": stringify(config),
    });
    const address = `127.0.0.1:${await freePort()}`;
    const args = ["--config.file=prometheus.yaml", `--web.listen-address=${address}`];
    const program = new Program("prometheus", args, { cwd: workspace.directory });
    onTestFinished(async () => {
      await program[Symbol.asyncDispose]();
      await workspace[Symbol.asyncDispose]();
    });
    await program.untilStderr(/Server is ready to receive web requests/);
    return new Prometheus(`http://${address}`);
  }

  /** Returns the alerts that fire, as `INSTANCE ALERT`. */
  async firing(): Promise<string[]> {
    const response = await fetch(`${this.#url}/api/v1/alerts`);
    const { data } = (await response.json()) as {
      data: { alerts: { state: string; labels: { alertname: string; instance: string } }[] };
    };
    const firing = data.alerts.filter(({ state }) => state === "firing");
    return [...new Set(firing.map(({ labels }) => `${labels.instance} ${labels.alertname}`))];
  }
}

/** Starts a gateway on free ports. */
function startGateway(config = "", flags: readonly string[] = []): Promise<GatewayProcess> {
  return GatewayProcess.start(config, ["--otlp-port", "0", ...flags]);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

test("the Prometheus of the example scrapes a gateway and loads the rules", async () => {
  await promtool(["--version"]);
  await using gateway = await startGateway();
  const readme = await Document.read(`${FOLDER}/README.md`);
  const address = `127.0.0.1:${await freePort()}`;
  await using workspace = await Workspace.create({
    [`${FOLDER}/alerts.yaml`]: await exampleFile("alerts.yaml"),
    [`${FOLDER}/alerts.test.yaml`]: await exampleFile("alerts.test.yaml"),
    [`${FOLDER}/prometheus.yaml`]: (await exampleFile("prometheus.yaml"))
      .replace("127.0.0.1:8001", new URL(gateway.url).host)
      .replace("scrape_interval: 15s", "scrape_interval: 1s"),
  });
  const command = readme
    .example("prometheus-run")
    .replace("127.0.0.1:9090", address)
    .replace("/tmp/tailgate-prometheus", workspace.path("data"))
    .replace("\nprometheus ", "\nexec prometheus ");
  await using prometheus = new Program("bash", ["-ec", command], { cwd: workspace.directory });
  await prometheus.untilStderr(/Server is ready to receive web requests/);
  await vi.waitFor(
    async () => {
      const response = await fetch(`http://${address}/api/v1/query?query=tailgate_ready`);
      expect(await response.text()).toContain('"job":"tailgate"');
    },
    { timeout: 30_000, interval: 200 },
  );
  const loaded = await (await fetch(`http://${address}/api/v1/rules`)).text();
  for (const { alert } of alerts) expect(loaded).toContain(alert);
});

describe("in a real Prometheus", () => {
  const gateways: GatewayProcess[] = [];
  let disk: Workspace;

  async function gateway(config: string, flags: readonly string[] = []): Promise<GatewayProcess> {
    const started = await startGateway(config, flags);
    gateways.push(started);
    return started;
  }

  beforeAll(async () => {
    disk = await Workspace.create();
    await mkdir(disk.path("logs"), { mode: 0o700 });
  });

  afterAll(async () => {
    for (const started of gateways) await started[Symbol.asyncDispose]();
    await run("umount", [disk.path("logs")]).catch(() => {});
    await disk[Symbol.asyncDispose]();
  });

  test("the alerts fire for what happens to gateways, and for nothing else", async () => {
    try {
      await run("prometheus", ["--version"]);
      const options = ["-t", "tmpfs", "-o", "size=16m,mode=700", "tmpfs", disk.path("logs")];
      await run("mount", options);
    } catch (error) {
      skipTest(`prometheus is missing, or a tmpfs cannot be mounted, ${setup}`, error);
    }
    const healthy = await gateway("");
    const dead = await gateway(
      'exporters: { websocket: { max_connections: 1 }, otlp: { endpoint: "http://127.0.0.1:9" } }',
    );
    const full = await gateway("", ["--log-dir", disk.path("logs")]);
    const damaged = await gateway("");
    await postMessages(damaged.url, ["lost"]);
    await damaged.kill();
    await rm(`${damaged.logDir}/journal.db-wal`);
    await damaged.restart();
    const prometheus = await Prometheus.start({
      healthy: healthy.url,
      dead: dead.url,
      full: full.url,
      damaged: damaged.url,
      gone: `http://127.0.0.1:${await freePort()}`,
    });
    const firing = async (...expected: string[]): Promise<void> => {
      await vi.waitFor(
        async () => expect(await prometheus.firing()).toEqual(expect.arrayContaining(expected)),
        {
          timeout: 30_000,
          interval: 200,
        },
      );
    };
    await firing(
      "gone TailgateDown",
      "damaged TailgateJournalDamaged",
      "full TailgateDiskAlmostFull",
    );
    // The counters have been scraped once: from here on increases show.
    await postMessages(healthy.url, ["one"]);
    await postMessages(dead.url, ["waits"]);
    const first = new WebSocket(dead.websocketUrl);
    await once(first, "open");
    const second = new WebSocket(dead.websocketUrl);
    await once(second, "error");
    await writeFile(disk.path("logs/ballast"), new Uint8Array(16 << 20)).catch(() => {});
    const filling = setInterval(() => void postMessages(full.url, ["x".repeat(200_000)]), 100);
    const probing = setInterval(() => void fetch(`${healthy.url}/nothing`), 50);
    try {
      await firing(
        "dead TailgateExporterFailing",
        "dead TailgateClientsRejected",
        "full TailgateNotReady",
        "full TailgateRecordsDropped",
        "full TailgateSendersRejected",
        "healthy TailgateRequestsRejected",
      );
    } finally {
      clearInterval(filling);
      clearInterval(probing);
      first.terminate();
    }
    const all = await prometheus.firing();
    expect(all.filter((alert) => alert.startsWith("healthy"))).toEqual([
      "healthy TailgateRequestsRejected",
    ]);
    await rm(disk.path("logs/ballast"));
    await vi.waitFor(
      async () => expect(await prometheus.firing()).not.toContain("full TailgateNotReady"),
      { timeout: 30_000, interval: 200 },
    );
  });
});
