import { printFigures } from "./figure.ts";
import { HelperProcess } from "./helper-process.ts";
import type { SenderQuestion } from "./otlp-http-senders.ts";
import { tailgateServer, type OtlpServer } from "./otlp-server.ts";
import { measured, wallMicros, type Scale, type Variant } from "./rounds.ts";

/** Records per request, and requests per slice. */
const KINDS = [
  { records: 512, requests: 64 },
  { records: 32, requests: 160 },
  { records: 1, requests: 160 },
] as const;

/** Records acknowledged per second on eight connections, each with one request at a time. */
export async function benchJournalOtlp(scale: Scale): Promise<void> {
  await using memory = await tailgateServer("memory");
  await using sqlite = await tailgateServer("sqlite");
  await using senders = await HelperProcess.start(new URL("otlp-http-senders.ts", import.meta.url));
  for (const { records, requests } of KINDS) {
    const names = { memory: `otlp_${records}.memory`, sqlite: `otlp_${records}.sqlite` };
    const question = {
      format: "protobuf" as const,
      requests: Math.ceil(requests * scale.share),
      records,
    };
    const variantOf = (name: string, server: OtlpServer): Variant<string> => ({
      name,
      async run() {
        await senders.ask({ port: server.port, ...question } satisfies SenderQuestion);
        server.sent += question.requests * records;
        return question.requests * records;
      },
    });
    const samples = await measured(
      [variantOf(names.memory, memory), variantOf(names.sqlite, sqlite)],
      scale.rounds,
      wallMicros,
    );
    for (const { sent, received } of [memory, sqlite]) {
      if (received() !== sent) throw new Error(`Of ${sent} records ${received()} were received.`);
    }
    printFigures("records/s", samples, [
      { name: `otlp_${records}.ratio`, of: names.sqlite, to: names.memory, target: undefined },
    ]);
  }
}
