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

// No console exporter: the console shows the page's URL.
const EXPORTERS = { websocket: {}, file: {}, "audit-file": {} };

/**
 * Starts a gateway in this process; without a log directory it leaves no files behind, nor a key in the user's home.
 */
export async function startDemoGateway({
  port,
  logDir,
  tracesTo,
}: {
  readonly port: number;
  readonly logDir?: string | undefined;
  /** Base URL of the trace receiver; no traces are created if absent. */
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
