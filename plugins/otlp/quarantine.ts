import { constants } from "node:fs";
import { mkdir, open } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Batch } from "tailgate/plugin";

const FLAGS = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW;

/** Keeps records that the other side refuses for good: a JSON line each, with the reason and all of the record. */
export class Quarantine {
  readonly path: string;

  constructor(logDir: string, id: string) {
    this.path = join(logDir, "quarantine", `${id.replace("/", "_")}.jsonl`);
  }

  /** `batch`: of one record. Resolves when it is on the disk. */
  async keep(batch: Batch, reason: string): Promise<void> {
    const head = { time: new Date().toISOString(), sequence: batch.sequence(0), reason };
    const record = Buffer.from(batch.otlpJson()).toString();
    await mkdir(dirname(this.path), { recursive: true, mode: 0o700 });
    const file = await open(this.path, FLAGS, 0o600);
    try {
      await file.appendFile(`${JSON.stringify(head).slice(0, -1)},"otlp":${record}}\n`);
      await file.datasync();
    } finally {
      await file.close();
    }
    await syncDirectory(dirname(this.path));
  }
}

/** The file's name has to be as safe as what is in it. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
