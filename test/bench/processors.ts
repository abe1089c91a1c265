import { printFigures } from "./figure.ts";
import { HelperProcess } from "./helper-process.ts";
import type { SenderQuestion } from "./otlp-http-senders.ts";
import { REQUEST_RECORDS } from "./otlp-request.ts";
import { tailgateServer } from "./otlp-server.ts";
import { measured, type Scale, type Variant } from "./rounds.ts";

const SLICE_REQUESTS = 48;

/** Key globs of the reference for redaction, none of which the typical record has. */
const KEYS = [
  ...[
    "*password*",
    "passwd",
    "pwd",
    "passphrase",
    "*secret*",
    "*api_key*",
    "apikey",
    "*access_key*",
  ],
  ...["private_key", "authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"],
  ...["credentials", "connection_string", "ssn", "iban", "*.user.email", "session_id"],
];

/** The processors that are compared with none, with the highest cost that they may have. */
const PROCESSORS = {
  redact: { processors: { redact: { keys: KEYS } }, target: "<= 1.2" },
  filter: { processors: { filter: { drop: "logger:uvicorn.access" } }, target: "<= 1.15" },
  filter_field: { processors: { filter: { drop: 'role:"janitor"' } }, target: "<= 1.15" },
} as const;

type Name = keyof typeof PROCESSORS | "none";

/** What a processor costs that leaves all records as they are, on a gateway with a durable journal and files. */
export async function benchProcessors({ rounds, share }: Scale): Promise<void> {
  await using senders = await HelperProcess.start(new URL("otlp-http-senders.ts", import.meta.url));
  await using servers = new AsyncDisposableStack();
  const requests = Math.ceil(SLICE_REQUESTS * share);
  const given: readonly (readonly [Name, object])[] = [
    ["none", {}],
    ...Object.entries(PROCESSORS).map(
      ([name, { processors }]) => [name as Name, processors] as const,
    ),
  ];
  const variants: Variant<`processors.${Name}`>[] = [];
  for (const [name, processors] of given) {
    const exporters = { file: {}, "audit-file": {} };
    const server = servers.use(await tailgateServer("sqlite", { processors, exporters }));
    variants.push({
      name: `processors.${name}`,
      async run() {
        const { port } = server;
        await senders.ask({ port, format: "protobuf", requests } satisfies SenderQuestion);
        server.sent += requests * REQUEST_RECORDS;
        if (server.received() !== server.sent) throw new Error(`${name} lost records.`);
        return requests * REQUEST_RECORDS;
      },
    });
  }
  const samples = await measured(variants, rounds);
  const to = "processors.none" as const;
  printFigures(
    "ns/record",
    samples,
    Object.entries(PROCESSORS).map(([name, { target }]) => {
      return {
        name: `processors_${name}.ratio`,
        of: `processors.${name as Name}` as const,
        to,
        target,
      };
    }),
  );
}
