import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { printValues } from "./figure.ts";
import { startGateway, UNBUNDLED_CLI } from "./gateway-process.ts";
import { HelperProcess } from "./helper-process.ts";
import type { SenderQuestion } from "./otlp-http-senders.ts";
import type { Scale } from "./rounds.ts";

const REQUESTS = 2_000;
const RECORDS = 512;

/** Entries below this share of a thread's time are not shown. */
const SHARE_MIN = 0.01;

/** Where the gateway's time goes under OTLP load with the default configuration: per thread, by file. */
export async function benchProfile({ share }: Scale): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "tailgate-bench-"));
  const requests = Math.ceil(REQUESTS * share);
  try {
    await sendTo(directory, requests);
    for (const file of await readdir(directory)) {
      const profile = JSON.parse(await readFile(join(directory, file), "utf8")) as Profile;
      printProfile(profile, requests * RECORDS);
    }
  } finally {
    await rm(directory, { recursive: true });
  }
}

async function sendTo(directory: string, requests: number): Promise<void> {
  await using senders = await HelperProcess.start(new URL("otlp-http-senders.ts", import.meta.url));
  const options = `--cpu-prof --cpu-prof-dir=${directory}`;
  await using gateway = await startGateway(undefined, { NODE_OPTIONS: options }, UNBUNDLED_CLI);
  const question = { format: "protobuf", requests, records: RECORDS } as const;
  await senders.ask({ port: gateway.otlpPort, ...question } satisfies SenderQuestion);
}

/** The part of a `--cpu-prof` file that is read here. */
interface Profile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

const WORKER = "/worker.";
const IDLE = "(idle)";

function printProfile({ nodes, samples, timeDeltas }: Profile, records: number): void {
  const locationById = new Map(nodes.map(({ id, callFrame }) => [id, locationOf(callFrame)]));
  const microsByLocation = new Map<string, number>();
  samples.forEach((id, index) => {
    const location = locationById.get(id)!;
    microsByLocation.set(location, (microsByLocation.get(location) ?? 0) + timeDeltas[index]!);
  });
  microsByLocation.delete(IDLE);
  const isWorker = nodes.some(({ callFrame }) => callFrame.url.includes(WORKER));
  const thread = isWorker ? "journal" : "main";
  const locations = [...microsByLocation].toSorted(([, one], [, other]) => other - one);
  const all = locations.reduce((sum, [, micros]) => sum + micros, 0);
  printValues(`profile.tailgate.${thread}`, "ns/record", [(1000 * all) / records]);
  for (const [location, micros] of locations.filter((entry) => entry[1] / all >= SHARE_MIN)) {
    printValues(`profile.tailgate.${thread}.${location}`, "share", [micros / all]);
  }
}

/** Returns the file in dist or the package; the name of an entry without a file, such as the garbage collector. */
function locationOf({ functionName, url }: Profile["nodes"][number]["callFrame"]): string {
  if (url === "") return functionName.startsWith("(") ? functionName : `native ${functionName}`;
  if (url.startsWith("node:")) return url;
  const packaged = /node_modules\/((?:@[^/]+\/)?[^/]+)(?!.*node_modules)/.exec(url);
  return packaged?.[1] ?? url.replace(/^.*\/dist\//, "");
}
