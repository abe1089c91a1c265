import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LoggingManager, type LoggingOptions } from "tailgate";

export interface DemoGateway {
  readonly logging: LoggingManager;
  close(): Promise<void>;
}

const OPTIONS = {
  logLevel: "DEBUG",
  // Not the console: it is to show the page's address.
  exporters: { websocket: {}, file: {}, "audit-file": {} },
} as const satisfies LoggingOptions;

/** A gateway in this process; where it gets no log directory it leaves nothing behind, nor a key among the user's. */
export async function startDemoGateway({
  port,
  logDir,
}: {
  readonly port: number;
  readonly logDir?: string | undefined;
}): Promise<DemoGateway> {
  if (logDir !== undefined) {
    const logging = await LoggingManager.start({ ...OPTIONS, port, logDir });
    return { logging, close: () => logging.stop() };
  }
  const directory = await mkdtemp(join(tmpdir(), "tailgate-demo-"));
  const remove = (): Promise<void> => rm(directory, { recursive: true, force: true });
  const config = join(directory, "tailgate.yaml");
  await writeFile(config, `audit_key_file: ${JSON.stringify(join(directory, "audit-key.pem"))}\n`);
  try {
    const logging = await LoggingManager.start({
      ...OPTIONS,
      config,
      port,
      logDir: join(directory, "logs"),
    });
    return { logging, close: () => logging.stop().finally(remove) };
  } catch (error) {
    await remove();
    throw error;
  }
}
