/** Gateways that start with the journal of a killed one, damaged on disk afterwards. */

import { copyFile, cp, readdir, readFile } from "node:fs/promises";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Program } from "../harness/program.ts";
import { CrashSite, urlOf } from "../harness/crash-site.ts";
import { harms, randomOf } from "./harms.ts";
import { keyOf, Ledger } from "./ledger.ts";
import { Producer } from "./producer.ts";

/** `npm run test:crash` sets 200. */
const COPIES = Number(process.env["CRASH_MOMENTS"] ?? 4);
/** Another seed damages other bytes. */
const SEED = Number(process.env["CRASH_SEED"] ?? 1);
const COPY_MS_MAX = 20_000;

const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

const CONFIG = `audit_key_file: keys/audit-key.pem
exporters: { file: {}, audit-file: {} }
`;

const REQUESTS = 60;

interface Gap {
  readonly from: number;
  readonly to: number;
  readonly reason: string;
}

interface Sent {
  readonly producer: string;
  readonly producer_seq: number;
}

/** What `/api/logs` returns for a journal. */
interface Listing {
  readonly epoch: string;
  /** The records as received, by sequence. */
  readonly records: ReadonlyMap<number, string>;
  readonly gaps: readonly Gap[];
}

async function listingOf(url: string): Promise<Listing> {
  const records = new Map<number, string>();
  const gaps: Gap[] = [];
  for (let cursor = ""; ;) {
    const response = await fetch(`${url}/api/logs?order=asc&limit=1000${cursor}`);
    expect(response.status).toBe(200);
    const page = (await response.json()) as {
      epoch: string;
      records: { sequence: number }[];
      gaps: Gap[];
      next_cursor: string | null;
    };
    for (const record of page.records) records.set(record.sequence, JSON.stringify(record));
    gaps.push(...page.gaps);
    if (page.next_cursor === null) return { epoch: page.epoch, records, gaps };
    cursor = `&cursor=${encodeURIComponent(page.next_cursor)}`;
  }
}

/** Leaves out the last records if they were not acknowledged as durable. */
function acknowledgedOf(listing: Listing, { acknowledged }: Ledger): Listing {
  const isAcknowledged = (record: string): boolean => {
    const { data } = JSON.parse(record) as { data: Sent & { metadata?: Sent } };
    const { producer, producer_seq: seq } = data.metadata ?? data;
    return acknowledged.has(keyOf({ producer, seq }));
  };
  const records = [...listing.records];
  const last = records.findLastIndex(([, record]) => isAcknowledged(record));
  return { ...listing, records: new Map(records.slice(0, last + 1)) };
}

async function started(site: CrashSite): Promise<[Program, string]> {
  const gateway = await site.start({ config: CONFIG });
  const url = await urlOf(gateway);
  if (url === undefined) throw new Error(gateway.stderr);
  return [gateway, url];
}

async function fill(url: string, name: string, ledger: Ledger): Promise<void> {
  const producer = new Producer(name, ledger);
  for (let sent = 0; sent < REQUESTS; sent++) expect(await producer.send(url)).toBe(200);
}

async function copyOf(base: CrashSite): Promise<CrashSite> {
  const site = await CrashSite.create();
  for (const name of ["logs", "keys"]) {
    await cp(base.workspace.path(name), site.workspace.path(name), {
      recursive: true,
      // The killed gateway has left its socket.
      filter: (path) => !path.endsWith(".sock"),
    });
  }
  return site;
}

/** Returns one line per flaw in a listing, compared with the one before the damage. */
function flawsOf(before: Listing, after: Listing): string[] {
  const flaws: string[] = [];
  const isTold = (sequence: number): boolean =>
    after.gaps.some(({ from, to }) => from <= sequence && sequence <= to);
  const newest = Math.max(...before.records.keys());
  for (const [sequence, record] of before.records) {
    const found = after.records.get(sequence);
    if (found === undefined && !isTold(sequence)) flaws.push(`${sequence} is missing`);
    if (found !== undefined && found !== record) flaws.push(`${sequence} is another record`);
  }
  for (let sequence = 1; sequence < Math.max(...after.records.keys()); sequence++) {
    if (!after.records.has(sequence) && !isTold(sequence)) flaws.push(`${sequence} is not told of`);
  }
  for (const sequence of after.records.keys()) {
    if (sequence <= newest && !before.records.has(sequence)) flaws.push(`${sequence} was reused`);
  }
  return flaws;
}

describe("a journal that was damaged after its gateway was killed", () => {
  let base: CrashSite;
  /** The listing of an undamaged copy. */
  let before: Listing;
  /** The epoch of the killed gateway. */
  let epoch: string;

  beforeAll(async () => {
    const ledger = new Ledger();
    base = await CrashSite.create();
    {
      const [gateway, url] = await started(base);
      await using _ = gateway;
      await fill(url, "one", ledger);
      await copyFile(`${base.logDir}/journal.db-wal`, base.workspace.path("older"));
      await gateway.end();
    }
    const [gateway, url] = await started(base);
    await using _ = gateway;
    await fill(url, "two", ledger);
    ({ epoch } = await listingOf(url));
    const sending = ["three", "four", "five"].map((name) =>
      new Producer(name, ledger).run(url, new AbortController().signal),
    );
    await fill(url, "six", ledger);
    gateway.process.kill("SIGKILL");
    await Promise.all([gateway.ended, ...sending]);
    await using site = await copyOf(base);
    const [undamaged, undamagedUrl] = await started(site);
    await using __ = undamaged;
    before = acknowledgedOf(await listingOf(undamagedUrl), ledger);
    if (undamaged.stderr.includes("ERROR")) throw new Error(undamaged.stderr);
  });

  afterAll(() => base[Symbol.asyncDispose]());

  it(
    `returns each record unchanged or in a gap, and keeps working, in ${COPIES} copies`,
    async () => {
      const kinds = harms(base.workspace.path("older"));
      const flaws: string[] = [];
      for (let copy = 0; copy < COPIES; copy++) {
        await using site = await copyOf(base);
        const random = randomOf(1000 * SEED + copy);
        const what = await kinds[copy % kinds.length]!(site.logDir, random);
        const found = await flawsIn(site);
        if (found.length > 0) flaws.push(`copy ${copy}, ${what}:\n${found.join("\n")}`);
      }
      expect(flaws).toEqual([]);
    },
    COPY_MS_MAX * COPIES,
  );

  /** Returns one line per flaw of a gateway that starts there, and finally its output. */
  async function flawsIn(site: CrashSite): Promise<string[]> {
    const [gateway, url] = await started(site);
    await using _ = gateway;
    const flaws: string[] = [];
    const producer = new Producer("after", new Ledger());
    for (let sent = 0; sent < 3; sent++) {
      const status = await producer.send(url);
      if (status !== 200) flaws.push(`a request is answered ${status}`);
    }
    const after = await listingOf(url);
    flaws.push(...flawsOf(before, after));
    const isComplete = [...before.records.keys()].every((sequence) => after.records.has(sequence));
    if (!isComplete) flaws.push(...(await unreportedIn(site, gateway, url)));
    if (after.epoch === epoch) flaws.push("the epoch is the same");
    const end = await gateway.end();
    if (end !== 0) flaws.push(`the gateway has ended with ${end}`);
    flaws.push(...(await unnotedIn(site)));
    const verifying = new Program(process.execPath, [MAIN, "audit", "verify"], {
      cwd: site.workspace.directory,
    });
    await using __ = verifying;
    const verified = await verifying.ended;
    if (verified !== 0) flaws.push(`verify: ${verified}: ${verifying.stdout}${verifying.stderr}`);
    return flaws.length === 0 ? [] : [...flaws, gateway.stderr];
  }

  /** Events missing from the audit files without a note there. */
  async function unnotedIn(site: CrashSite): Promise<string[]> {
    const directory = `${site.logDir}/audit`;
    const names = (await readdir(directory)).filter((name) => name.startsWith("audit_"));
    const texts = await Promise.all(names.map((name) => readFile(`${directory}/${name}`, "utf8")));
    const text = texts.join("");
    const lacking = [...before.records]
      .filter(([, record]) => record.includes('"type":"audit_log"'))
      .filter(([sequence]) => !text.includes(`,"seq":${sequence},"hash":`));
    if (lacking.length === 0 || text.includes('"event_type":"journal_damaged"')) return [];
    return [`the audit files lack ${lacking.length} events, and nothing says so`];
  }

  /** Missing records that are not reported to the operator. */
  async function unreportedIn(
    site: CrashSite,
    { stderr }: Program,
    url: string,
  ): Promise<string[]> {
    const flaws: string[] = [];
    if (!/tailgate\.journal - ERROR - The /.test(stderr)) flaws.push("stderr tells nothing");
    const stats = (await (await fetch(`${url}/api/stats`)).json()) as {
      journal: { damage?: { kept: string[] }[] };
    };
    const { damage = [] } = stats.journal;
    if (damage.length === 0) flaws.push("/api/stats tells nothing");
    const metrics = await (await fetch(`${url}/metrics`)).text();
    if (!/^tailgate_journal_damage [1-9]/m.test(metrics)) flaws.push("/metrics tell nothing");
    const names = await readdir(site.logDir);
    const lacking = damage
      .flatMap(({ kept }) => kept)
      .filter((path) => !names.includes(basename(path)));
    return [...flaws, ...lacking.map((path) => `${path} is not there`)];
  }
});
