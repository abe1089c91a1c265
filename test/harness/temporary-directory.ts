import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A directory of its own, deleted by the clean-up that it adds. */
export async function temporaryDirectory(
  cleanUps: (() => Promise<unknown> | void)[],
): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "tailgate-test-"));
  cleanUps.push(() => rm(path, { recursive: true, force: true }));
  return path;
}
