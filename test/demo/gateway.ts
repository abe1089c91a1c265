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
} as const satisfies LoggingOptions;

// Not the console: it is to show the page's address.
const EXPORTERS = { websocket: {}, file: {}, "audit-file": {} };

/** A gateway in this process; where it gets no log directory it leaves nothing behind, nor a key among the user's. */
export async function startDemoGateway({
  port,
  logDir,
  tracesTo,
}: {
  readonly port: number;
  readonly logDir?: string | undefined;
  /** Base URL of what takes the traces of instances; they are not made where absent. */
  readonly tracesTo?: string | undefined;
}): Promise<DemoGateway> {
  const spans = tracesTo === undefined ? {} : { spans: { endpoint: tracesTo } };
  const options = { ...OPTIONS, port, exporters: { ...EXPORTERS, ...spans } };
  if (logDir !== undefined) {
    const logging = await LoggingManager.start({ ...options, logDir });
    return { logging, close: () => logging.stop() };
  }
  const directory = await mkdtemp(join(tmpdir(), "tailgate-demo-"));
  const remove = (): Promise<void> => rm(directory, { recursive: true, force: true });
  const config = join(directory, "tailgate.yaml");
  await writeFile(config, `audit_key_file: ${JSON.stringify(join(directory, "audit-key.pem"))}\n`);
  try {
    const logging = await LoggingManager.start({
      ...options,
      config,
      logDir: join(directory, "logs"),
    });
    return { logging, close: () => logging.stop().finally(remove) };
  } catch (error) {
    await remove();
    throw error;
  }
}
