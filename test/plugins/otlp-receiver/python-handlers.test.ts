/** The two OpenTelemetry handlers of Python's logging, over HTTP into a gateway. */

import { expect, test } from "vitest";
import { CrashSite, urlOf } from "../../harness/crash-site.ts";
import { Program, requirePython } from "../../harness/program.ts";

const SDK_HANDLER = `
from opentelemetry.sdk._logs import LoggingHandler
handler = LoggingHandler(logger_provider=provider)
`;

const INSTRUMENTATION_HANDLER = `
from opentelemetry.instrumentation.logging.handler import LoggingHandler
handler = LoggingHandler(logger_provider=provider, log_code_attributes=True)
`;

const LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];

const program = (handler: string): string => `
import logging
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

provider = LoggerProvider()
provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
${handler}
logger = logging.getLogger("orchestrator.instance_manager")
logger.setLevel(logging.DEBUG)
logger.addHandler(handler)

class Manager:
    def spawn(self):
        for level in (${LEVELS.map((name) => `logging.${name}`).join(", ")}):
            logger.log(level, "spawned %d", 7, extra={"instance_id": "abc-123"}) # the place

Manager().spawn()
provider.shutdown()
`;

interface Answer {
  readonly records: { readonly data: object }[];
}

test.each([
  ["of the SDK", SDK_HANDLER, "opentelemetry.sdk"],
  [
    "of the instrumentation",
    INSTRUMENTATION_HANDLER,
    "opentelemetry.instrumentation.logging.handler",
  ],
])("the handler %s sends logger, level, fields and place", async (_, handler, module) => {
  const python = await requirePython(module);
  await using site = await CrashSite.create();
  await using gateway = await site.start({ config: "log_level: DEBUG\nexporters: {}\n" });
  const url = (await urlOf(gateway))!;
  const source = program(handler);
  await site.workspace.write("server.py", source);
  await Program.run(python, ["server.py"], {
    cwd: site.workspace.directory,
    env: { OTEL_EXPORTER_OTLP_ENDPOINT: url },
  });

  const answer = await fetch(`${url}/api/logs?logger=orchestrator.instance_manager`);
  const { records } = (await answer.json()) as Answer;
  const line = source.split("\n").findIndex((text) => text.endsWith("# the place")) + 1;
  const timestamp = expect.any(String) as string;
  expect(records.map(({ data }) => data).toReversed()).toEqual(
    LEVELS.map((level) => ({
      timestamp,
      level,
      logger: "orchestrator.instance_manager",
      message: "spawned 7",
      module: "server",
      function: "spawn",
      line,
      instance_id: "abc-123",
      service: expect.any(String) as string,
    })),
  );
});
