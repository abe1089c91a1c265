import { onTestFinished } from "vitest";
import { resolveConfig } from "../../src/config/config.ts";
import { startTailgate, type RunningTailgate } from "../../src/gateway/start.ts";
import { TestTokens, type TestToken } from "./tokens.ts";
import { Workspace } from "./workspace.ts";

/** A gateway in this process with all its ports and a tokens file, until the test ends. */
export interface SecuredGateway extends RunningTailgate {
  readonly workspace: Workspace;
  readonly tokens: TestTokens;
  /** What it has logged. */
  readonly lines: readonly string[];
  /** `http://127.0.0.1:PORT` of a port of the OTLP receiver. */
  readonly otlpUrl: string;
  readonly grpcUrl: string;
}

interface SecuredOptions {
  /** Keys of `auth` beside the tokens file, as in YAML. */
  readonly auth?: string;
  /** Other keys of the configuration, as in YAML. */
  readonly config?: string;
  readonly workspace?: Workspace;
}

export async function startSecured(
  given: Readonly<Record<string, TestToken>>,
  { auth = "", config = "", workspace: existing }: SecuredOptions = {},
): Promise<SecuredGateway> {
  const workspace = existing ?? (await Workspace.create());
  const tokens = await TestTokens.create(workspace, given);
  await workspace.write(
    "tailgate.yaml",
    `auth: { tokens_file: ${tokens.path}, ${auth} }
audit_key_file: ${workspace.path("keys/audit-key.pem")}
receivers: { otlp: { port: 0, grpc_port: 0 } }
exporters: { websocket: {} }
${config}
`,
  );
  const lines: string[] = [];
  const running = await startTailgate(
    await resolveConfig({
      file: workspace.path("tailgate.yaml"),
      flags: { port: 0, logDir: workspace.path("logs") },
      env: {},
      cwd: workspace.directory,
    }),
    { write: (line) => void lines.push(line), handlesSignals: false, keepsAlive: false },
  );
  onTestFinished(async () => {
    await running.stop();
    if (existing === undefined) await workspace[Symbol.asyncDispose]();
  });
  const urlOf = (kind: string): string => {
    const line = running.listeners.find((listener) => listener.includes(kind))!;
    return new URL(line.split(" ", 1)[0]!).origin;
  };
  return {
    ...running,
    workspace,
    tokens,
    lines,
    otlpUrl: urlOf("(OTLP/HTTP"),
    grpcUrl: urlOf("(OTLP/gRPC"),
  };
}
