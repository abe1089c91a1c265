import { TestTokens } from "../harness/tokens.ts";
import { Workspace } from "../harness/workspace.ts";
import { printFigures } from "./figure.ts";
import { HelperProcess } from "./helper-process.ts";
import type { SenderQuestion } from "./otlp-http-senders.ts";
import { tailgateServer, type OtlpServer } from "./otlp-server.ts";
import { measured, type Scale, type Variant } from "./rounds.ts";

/** Records per request, and requests per slice: what an exporter usually sends, and the most that a token can cost. */
const KINDS = [
  { records: 512, requests: 64 },
  { records: 1, requests: 640 },
] as const;

/** What it costs the receiving process to authenticate a sender. In memory, where everything else costs the least. */
export async function benchOtlpAccess({ rounds, share }: Scale): Promise<void> {
  await using workspace = await Workspace.create();
  const tokens = await TestTokens.create(workspace, { ci: { scopes: ["ingest"] } });
  await using open = await tailgateServer("memory");
  await using secured = await tailgateServer("memory", { tokensFile: tokens.path });
  await using senders = await HelperProcess.start(new URL("otlp-http-senders.ts", import.meta.url));
  for (const { records, requests: all } of KINDS) {
    const requests = Math.ceil(all * share);
    const variantOf = (name: string, server: OtlpServer, token?: string): Variant<string> => ({
      name,
      async run() {
        const { port } = server;
        const kind = { port, format: "protobuf", requests, records } as const;
        await senders.ask({
          ...kind,
          ...(token !== undefined && { token }),
        } satisfies SenderQuestion);
        server.sent += requests * records;
        return requests * records;
      },
    });
    const names = { token: `otlp_access_${records}.token`, open: `otlp_access_${records}.open` };
    const samples = await measured(
      [variantOf(names.token, secured, tokens.text("ci")), variantOf(names.open, open)],
      rounds,
    );
    for (const { sent, received } of [open, secured]) {
      // A gateway with authentication also stores events of its own.
      if (received() < sent) throw new Error(`Of ${sent} records ${received()} were received.`);
    }
    const ratio = { name: `otlp_access_${records}.ratio`, of: names.token, to: names.open };
    printFigures("records/s", samples, [{ ...ratio, target: ">= 0.97" }]);
  }
}
