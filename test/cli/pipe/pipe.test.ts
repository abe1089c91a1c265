import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { GatewayProcess } from "../../harness/gateway.ts";
import { Pipeline } from "../../harness/pipeline.ts";
import { MAIN } from "../../harness/program.ts";
import { Workspace } from "../../harness/workspace.ts";

let gateway: GatewayProcess;
let endpoint: string;

beforeAll(async () => {
  gateway = await GatewayProcess.start(
    "receivers: { otlp: { port: 0, grpc_port: null } }\nexporters: { websocket: {} }\n",
  );
  endpoint = await gateway.endpoint("OTLP/HTTP");
});

afterAll(() => gateway[Symbol.asyncDispose]());

async function createWorkspace(): Promise<Workspace> {
  const workspace = await Workspace.create();
  onTestFinished(() => workspace[Symbol.asyncDispose]());
  return workspace;
}

/** Starts a command of bash, in which `tailgate` is the built one. */
function start(command: string, { directory: cwd }: Workspace): Pipeline {
  const tailgate = `tailgate() { exec "${process.execPath}" "${MAIN}" "$@"; }`;
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint };
  return new Pipeline(`${tailgate}\n${command}`, { cwd, env });
}

describe("tailgate pipe", () => {
  test("prints its input byte for byte, and sends records with all that it says", async () => {
    const client = await gateway.client();
    const traceId = "0123456789abcdef0123456789abcdef";
    const trace = `"trace_id":"${traceId}"`;
    const log = Buffer.from(
      `{"level":50,"time":1760347644339,"name":"shop","msg":"failed","__proto__":{"a":[1,null]},${trace},"span_id":"0123456789abcdef"}\r\n` +
        `\n{"msg":"only the trace",${trace}}\n` +
        "2025-10-13 09:27:24,339 WARNING low \xff\n  detail\nthe end",
      "latin1",
    );
    const workspace = await createWorkspace();
    await workspace.write("in.log", log);
    const options = "--logger app --level notice --attribute a=b --attribute c=d=e";
    await using pipeline = start(`tailgate pipe ${options} < in.log > out.log`, workspace);
    expect([await pipeline.ended, pipeline.stderr]).toEqual([0, ""]);
    expect(await readFile(workspace.path("out.log"))).toEqual(log);
    const added = { a: "b", c: "d=e", service: "app" };
    const received = (await client.receive(4)).map(({ data }) => data);
    expect(received.toSorted((a, b) => a.message.localeCompare(b.message))).toEqual([
      expect.objectContaining({ ...added, level: "ERROR", logger: "shop", trace_id: traceId }),
      expect.objectContaining({ ...added, level: "WARNING", message: "low \uFFFD\n  detail" }),
      expect.objectContaining({ ...added, message: "only the trace", trace_id: traceId }),
      expect.objectContaining({ ...added, level: "INFO", logger: "app", message: "the end" }),
    ]);
    const failed = received.find(({ message }) => message === "failed")!;
    expect(JSON.stringify(failed)).toContain('"__proto__":{"a":[1,null]}');
  });

  test("ends quietly when the reader of stdout does, and says what it cannot read or write", async () => {
    const client = await gateway.client();
    const workspace = await createWorkspace();
    const commands = [
      'yes WARNING | tailgate pipe --logger yes | head -1; echo "${PIPESTATUS[*]}"',
      '(echo unprinted | tailgate pipe --format text > /dev/full); echo "$?"',
      '(tailgate pipe 0> write-only); echo "$?"',
      '(tailgate pipe --port 1 < /dev/null); echo "$?"',
      '(tailgate pipe --endpoint ftp://x < /dev/null); echo "$?"',
    ];
    await using pipeline = start(commands.join("\n"), workspace);
    await pipeline.ended;
    expect(pipeline.stdout).toBe("WARNING\n141 0 0\n1\n1\n64\n64\n");
    expect(pipeline.stderr.match(/^tailgate: [A-Z_]+: .*$/gm)).toEqual([
      expect.stringContaining("OUTPUT_FAILED: The output of the command cannot be written"),
      expect.stringContaining("INPUT_FAILED: The input cannot be read: "),
      expect.stringContaining("USAGE: --port needs --serve."),
      expect.stringContaining("Expected an http or https URL"),
    ]);
    await client.receiveUntil(({ data }) => data.message === "unprinted");
  });

  test("reads the last lines after Ctrl-C, and ends with the signal", async () => {
    const client = await gateway.client();
    const workspace = await createWorkspace();
    await workspace.write(
      "app.mjs",
      `process.on("SIGINT", () => { console.log("ERROR last"); process.exit(); });
       setInterval(() => {}, 1e9);
       console.log("ERROR first");`,
    );
    await using pipeline = start(`"${process.execPath}" app.mjs | tailgate pipe`, workspace);
    await pipeline.untilStdout(/first/);
    pipeline.signal("SIGINT");
    expect(await pipeline.ended).toBe("SIGINT");
    expect(pipeline.stdout).toBe("ERROR first\nERROR last\n");
    expect((await client.receive(2)).map(({ data }) => data.message)).toEqual(["first", "last"]);
  });

  test("stops reading at SIGTERM, and sends what was read", async () => {
    const command = "tailgate pipe < <(trap '' TERM; exec yes 2> /dev/null)";
    await using pipeline = start(command, await createWorkspace());
    await pipeline.untilStdout(/y/);
    pipeline.signal("SIGTERM");
    expect([await pipeline.ended, pipeline.stderr]).toEqual(["SIGTERM", ""]);
  });

  test("stops reading at a second Ctrl-C, and sends what was read", async () => {
    const client = await gateway.client();
    const program = "trap '' INT; echo last; exec sleep 1000 2> /dev/null";
    await using pipeline = start(`tailgate pipe < <(${program})`, await createWorkspace());
    await pipeline.untilStdout(/last/);
    // Those of npx, which follow each other at once, count as one.
    const interrupts = setInterval(() => pipeline.signal("SIGINT"), 700);
    expect([await pipeline.ended, pipeline.stderr]).toEqual(["SIGINT", ""]);
    clearInterval(interrupts);
    expect((await client.receive(1))[0]!.data.message).toBe("last");
  });
});
