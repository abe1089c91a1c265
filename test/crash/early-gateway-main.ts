/** A faulty gateway for testing the checker: it acknowledges records before they are durable. */

import { resolveConfig } from "tailgate";
import { Gateway } from "../../src/gateway/gateway.ts";
import { HttpServer } from "../../src/http/server/server.ts";
import type { RecordBatch } from "../../src/batch/record-batch.ts";
import type { Journal } from "../../src/journal/journal.ts";
import { MemoryJournal } from "../../src/journal/memory.ts";
import { SqliteJournal } from "../../src/journal/sqlite.ts";
import { prepareLogDir } from "../../src/runtime/log-dir.ts";

const LATE_MS = 300;

const write = (line: string): void => void process.stderr.write(`${line}\n`);
const log = { info: write, warning: write, error: write };

/**
 * A journal in memory whose batches are written to the one on disk later, with the same sequences.
 */
function earlyJournal(disk: SqliteJournal): Journal {
  const memory = new MemoryJournal();
  return Object.assign(memory, {
    append: (batch: RecordBatch) => {
      const appended = MemoryJournal.prototype.append.call(memory, batch);
      setTimeout(() => void disk.append(batch), LATE_MS);
      return appended;
    },
  });
}

const config = await resolveConfig({ flags: {}, env: process.env, cwd: process.cwd() });
await prepareLogDir(config.logDir);
const { host, port, allowedHosts, logDir } = config;
const { retention } = config.journal;
const disk = await SqliteJournal.open({ directory: logDir, retention, alarm: write });
const server = new HttpServer({ host, port, allowedHosts, log });
const journal = earlyJournal(disk);
const gateway = new Gateway(config, { http: server.plugins, journal, write });
await gateway.open();
server.mount(gateway);
write(`listening on ${await server.listen()} (dashboard)`);
