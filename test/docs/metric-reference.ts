import { tmpdir } from "node:os";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { request, type IncomingMessage } from "node:http";
import { join } from "node:path";
import { text as textOf } from "node:stream/consumers";
import { CLOSE_REASONS, type CloseReason } from "../../plugins/websocket/connection.ts";
import { builtInNames, type Section, SECTIONS } from "../../src/config/built-ins.ts";
import { resolveConfig } from "../../src/config/config.ts";
import { startTailgate } from "../../src/gateway/start.ts";
import { gatewayMetrics } from "../../src/http/metrics/gateway-metrics.ts";
import { TestTokens } from "../harness/tokens.ts";
import { DROP_REASONS } from "../../src/plugin/metrics.ts";
import { issueCertificate } from "../harness/certificates.ts";

/** A metric as /metrics exposes it. */
interface ExposedMetric {
  readonly name: string;
  readonly type: string;
  readonly help: string;
}

/** Nothing listens there, and nothing is sent to it. */
const NOWHERE = "http://127.0.0.1:9";

/** The options of built-in plugins that need some, or register more metrics with them. */
const OPTIONS: Readonly<Record<string, object>> = {
  "receivers/otlp": { port: 0, grpc_port: 0, pass_on_to: NOWHERE, metrics: "discard" },
  "receivers/filelog": { include: ["/nowhere/*.log"] },
  "processors/filter": { drop: "level:DEBUG" },
  "processors/attributes": { actions: [{ key: "a", action: "delete" }] },
  "exporters/otlp": { endpoint: NOWHERE },
  "exporters/spans": { endpoint: NOWHERE },
  "exporters/webhook": { url: NOWHERE },
};

/** The labels of metrics beside `component` and `kind`, which each metric of a component or a plugin has. */
const LABELS: Readonly<Record<string, readonly string[]>> = {
  tailgate_records_dropped_total: ["reason"],
  tailgate_build_info: ["version"],
  tailgate_http_requests_total: ["route", "method", "status"],
  tailgate_http_request_duration_seconds: ["route", "method"],
  tailgate_http_forwarded_headers_ignored_total: ["header"],
  tailgate_requests_rejected_total: ["protocol", "status"],
  tailgate_otlp_requests_total: ["protocol", "status"],
  tailgate_otlp_request_duration_seconds: ["protocol"],
  tailgate_otlp_requests_passed_on_total: ["signal", "status"],
  tailgate_otlp_requests_discarded_total: ["signal"],
  tailgate_otlp_discarded_bytes_total: ["signal"],
  tailgate_websocket_clients_closed_total: ["reason"],
  tailgate_websocket_clients_refused_total: ["reason"],
  tailgate_websocket_records_missed_total: ["reason"],
  tailgate_access_events_total: ["event", "outcome"],
  tailgate_requests_limited_total: ["limit"],
  tailgate_token_expiry_timestamp_seconds: ["token"],
  tailgate_logins_total: ["outcome"],
  tailgate_sessions_ended_total: ["reason"],
  tailgate_redact_matches_total: ["rule", "action"],
  tailgate_parse_messages_total: ["result"],
  tailgate_spans_instances_closed_total: ["end"],
  tailgate_spans_dropped_total: ["reason"],
  tailgate_tls_reloads_total: ["result"],
  tailgate_config_reloads_total: ["result"],
  tailgate_config_hash: ["hash"],
};

/** The sections of the reference, with the metrics that belong to each: the first match counts. */
const GROUPS: readonly (readonly [string, RegExp])[] = [
  ["Records and components", /^tailgate_(records|queue|lag|component)_/],
  ["Journal and disk", /^tailgate_(journal|disk|clock)_/],
  ["Audit trail", /^tailgate_audit_/],
  ["OTLP", /^tailgate_otlp_/],
  ["WebSocket", /^tailgate_websocket_/],
  ["Files that are followed", /^tailgate_filelog_/],
  ["Traces of instances", /^tailgate_spans_/],
  ["Processors", metricsOf(["processors"])],
  ["HTTP", /^tailgate_(http|requests)_/],
  ["TLS", /^tailgate_tls_/],
  ["Configuration", /^tailgate_config_/],
  ["Sign-in and access", /^tailgate_(logins|sessions|access|token)(_|$)/],
  ["Gateway", /^tailgate_/],
  ["Process", /^/],
];

type DropReason = (typeof DROP_REASONS)[keyof typeof DROP_REASONS][number];

const OWNERS: readonly (readonly [keyof typeof DROP_REASONS, string])[] = [
  ["intake", "intake"],
  ["receiver", "receivers"],
  ["processor", "processors"],
  ["liveExporter", "live exporters"],
  ["durableExporter", "durable exporters"],
];

/** What happened to dropped records, and whether their sender knows. */
const DROPS: Readonly<Record<DropReason, string>> = {
  forbidden:
    "The principal of the request lacks the scope for records of this type, `ingest:system` or `ingest:audit`. The response names it: a partial success, or 403 if no record was permitted.",
  intake_full:
    "Logged in process while more than 60 MiB waited for the disk. System logs only, the least severe first.",
  journal_failed:
    "The disk failed during the commit, and it is unknown whether the records are stored. OTLP senders get 503 and retry.",
  journal_full: "The disk is full. OTLP senders get 503 and retry.",
  journal_refused: "The disk rejected the commit. OTLP senders get 503 and retry.",
  malformed:
    "The record breaks the OTLP schema. The rest of the request is stored, and the response reports a partial success.",
  not_encodable: "The record cannot be encoded, for example because it is larger than 256 MiB.",
  not_readable: "Logged in process, and reading one of its values threw an exception.",
  overloaded: "An audit event waited for two seconds, and the disk did not catch up.",
  stopped:
    "At the intake: logged after the gateway had stopped. At an exporter: not delivered within the shutdown's time limit, and not retained in the journal.",
  untyped_event: "`logAuditEvent()` was called without an event type.",
  rejected:
    "At a receiver: rejected from a request whose other records were stored. At `otlp`: the destination accepted the request, but not all of its records (a partial success).",
  processor_failed: "The processor failed on it, and `on_error` is `fail` or `drop`.",
  queue_full: "The exporter was too slow and its queue overflowed, the least severe first.",
  refused:
    "The destination rejected the record for good. `otlp` writes it to its dead-letter file.",
  damaged: "The journal is damaged, and the exporter could not read the record.",
  not_stored: "The record was never stored: the intake has counted it, too.",
  retention: "The retention policy deleted the record before the exporter delivered it.",
};

const CLOSES: Readonly<Record<CloseReason, string>> = {
  closed: "The client closed the connection.",
  lost: "The connection was lost without a close frame.",
  protocol: "The client violated the WebSocket protocol.",
  misuse: "The client sent too many invalid `tailgate.v1` messages.",
  stalled: "The client read nothing for `stall_timeout_seconds`.",
  outrun:
    "A client without the subprotocol fell so far behind that its next records were no longer in memory.",
  expensive: "The client's filter takes too long to match.",
  unauthorized: "The access of the client expired or was revoked.",
  dead: "The client did not answer pings.",
  failed: "An internal error.",
  stopping: "The gateway is shutting down.",
};

/** Returns the metrics of a gateway with all built-in plugins, as Markdown. */
export async function metricReference(): Promise<string> {
  const metrics = await exposedMetrics();
  const unplaced = new Set(metrics);
  const sections = GROUPS.map(([title, pattern]) => {
    const members = [...unplaced].filter(({ name }) => pattern.test(name));
    for (const metric of members) unplaced.delete(metric);
    return `## ${title}\n\n${metricTable(members)}`;
  });
  return [...sections, dropSection(), closeSection()].join("\n\n");
}

async function exposedMetrics(): Promise<ExposedMetric[]> {
  const directory = await mkdtemp(join(tmpdir(), "tailgate-metrics-"));
  const { cert, key } = issueCertificate("tailgate");
  await writeFile(join(directory, "tls.pem"), cert);
  await writeFile(join(directory, "tls.key"), key, { mode: 0o600 });
  const sections = SECTIONS.map((section) => [section, allBuiltIns(section)] as const);
  // Some metrics exist only with authentication.
  const tokens = await TestTokens.create(directory, {
    prometheus: { scopes: ["metrics"], expires_at: "2999-12-31T23:59:59.999Z" },
  });
  const config = await resolveConfig({
    // Some metrics exist only with TLS; the socket needs no client that trusts the certificate.
    text: `{ port: null, listen: unix:a.sock, auth: { tokens_file: ${tokens.path} }, tls: { certificate: tls.pem, key: tls.key } }`,
    flags: { logDir: join(directory, "logs") },
    env: {},
    cwd: directory,
    document: { ...Object.fromEntries(sections), journal: { engine: "memory" } },
  });
  const running = await startTailgate(config, { write: () => {}, handlesSignals: false });
  try {
    const asked = request({
      socketPath: config.socket!.path,
      path: "/metrics",
      headers: tokens.bearer("prometheus"),
    }).end();
    const [response] = (await once(asked, "response")) as [IncomingMessage];
    const exposed = Array.from(
      (await textOf(response)).matchAll(
        /^# HELP (?<name>\S+) (?<help>.*)\n# TYPE \S+ (?<type>.*)$/gm,
      ),
      ({ groups }) => ({ ...groups }) as unknown as ExposedMetric,
    );
    // Some metrics have no value at first, or none with this engine.
    const known = gatewayMetrics(running.gateway).map(({ name, description, kind }) => ({
      name: kind === "counter" ? `${name}_total` : name,
      type: kind,
      help: description,
    }));
    const names = new Set(known.map(({ name }) => name));
    return [...known, ...exposed.filter(({ name }) => !names.has(name))];
  } finally {
    await running.stop();
    await rm(directory, { recursive: true });
  }
}

function allBuiltIns(section: Section): Record<string, object> {
  const names = builtInNames(section);
  return Object.fromEntries(names.map((name) => [name, OPTIONS[`${section}/${name}`] ?? {}]));
}

function metricTable(metrics: readonly ExposedMetric[]): string {
  const rows = metrics.map(
    ({ name, type, help }) =>
      `| \`${name}\` | ${type} | ${unitOf(name)} | ${labelsOf(name)} | ${help} |`,
  );
  return table("Name | Type | Unit | Labels | Meaning", rows);
}

function unitOf(name: string): string {
  if (/_seconds(_total)?$/.test(name)) return "seconds";
  if (/_bytes(_sent)?(_total)?$/.test(name)) return "bytes";
  if (name.endsWith("_sequence")) return "sequence";
  if (name.includes("_http_waiting")) return "requests";
  if (/_(up|ready|info)$/.test(name)) return "0 or 1";
  if (/^tailgate_spans_(sent|dropped)/.test(name)) return "spans";
  if (name.endsWith("throttle_suppressed_total")) return "records";
  const counted =
    /records|requests|clients|connections|searches|answers|instances|frames|events|lines|windows|fds/.exec(
      name,
    );
  if (counted?.[0] === "fds") return "files";
  return counted?.[0].replace("answers", "requests") ?? "count";
}

function labelsOf(name: string): string {
  const isOfComponent =
    /^tailgate_(?:records|queue|lag|component)_/.test(name) || metricsOf(SECTIONS).test(name);
  const labels = [...(isOfComponent ? ["component", "kind"] : []), ...(LABELS[name] ?? [])];
  return labels.map((label) => `\`${label}\``).join(", ");
}

/** Returns a pattern of the metrics that built-in plugins register. */
function metricsOf(sections: readonly Section[]): RegExp {
  const types = sections.flatMap(builtInNames).map((name) => name.replaceAll("-", "_"));
  return new RegExp(`^tailgate_(?:${types.join("|")})_`);
}

function dropSection(): string {
  const rows = (Object.keys(DROPS) as DropReason[]).map((reason) => {
    const owners = OWNERS.filter(([owner]) => hasReason(owner, reason)).map(([, text]) => text);
    return `| \`${reason}\` | ${owners.join(", ")} | ${DROPS[reason]} |`;
  });
  return `## Drop reasons\n\nValues of the label \`reason\` of \`tailgate_records_dropped_total\`. A plugin may add its own.\n\n${table("Reason | Counted at | What happened", rows)}`;
}

function hasReason(owner: keyof typeof DROP_REASONS, reason: DropReason): boolean {
  return (DROP_REASONS[owner] as readonly string[]).includes(reason);
}

function closeSection(): string {
  const rows = CLOSE_REASONS.map((reason) => `| \`${reason}\` | ${CLOSES[reason]} |`);
  return `## Close reasons\n\nValues of the label \`reason\` of \`tailgate_websocket_clients_closed_total\` and \`tailgate_websocket_records_missed_total\`.\n\n${table("Reason | Meaning", rows)}`;
}

function table(head: string, rows: readonly string[]): string {
  const line = head.split(" | ").map(() => "---");
  return [`| ${head} |`, `| ${line.join(" | ")} |`, ...rows].join("\n");
}
