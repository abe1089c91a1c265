/** Third-party clients that send over OTLP/gRPC. */

import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { gzipSync } from "node:zlib";
import {
  Client,
  compressionAlgorithms,
  credentials,
  status,
  type ServiceError,
} from "@grpc/grpc-js";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { TailgateError } from "tailgate";
import { Program, requirePython } from "../../harness/program.ts";
import { METHOD } from "./raw-call.ts";
import { openGrpcReceiver } from "../../harness/otlp.ts";

const PYTHON = readFileSync(new URL("../../golden/python-sdk.pb", import.meta.url));
const PYTHON_RECORDS = 17;

/** Exports with grpc-js; returns the response's bytes, or the error. */
function exported(
  url: string,
  message: Buffer,
  { compressed = false, deadlineMs = 20_000 } = {},
): Promise<Buffer | ServiceError> {
  const client = new Client(new URL(url).host, credentials.createInsecure(), {
    ...(compressed && { "grpc.default_compression_algorithm": compressionAlgorithms.gzip }),
  });
  onTestFinished(() => client.close());
  const asIs = (bytes: Buffer): Buffer => bytes;
  const deadline = Date.now() + deadlineMs;
  return new Promise((resolve) => {
    client.makeUnaryRequest(METHOD, asIs, asIs, message, { deadline }, (error, response) =>
      resolve(error ?? response!),
    );
  });
}

describe("grpc-js", () => {
  it.each([false, true])("exports, compressed: %s", async (compressed) => {
    const { url, intake } = await openGrpcReceiver();
    expect(await exported(url, PYTHON, { compressed })).toEqual(Buffer.alloc(0));
    expect(intake.received).toBe(PYTHON_RECORDS);
  });

  it("gets the status, the message and the details of a rejection", async () => {
    const { url, intake } = await openGrpcReceiver();
    intake.error = new TailgateError("OVERLOADED", "Zu viel für 100 %.");
    const error = (await exported(url, PYTHON)) as ServiceError;
    expect(error.code).toBe(status.RESOURCE_EXHAUSTED);
    expect(error.details).toContain("Zu viel für 100 %.");
    const [details] = error.metadata.get("grpc-status-details-bin") as [Buffer];
    expect(details.toString("latin1")).toContain("type.googleapis.com/google.rpc.RetryInfo");
  });

  it("gets the rejection of a message that is too large while sending it", async () => {
    const { url } = await openGrpcReceiver();
    for (let count = 0; count < 5; count++) {
      const error = (await exported(url, Buffer.alloc(16_000_000))) as ServiceError;
      expect(error.code).toBe(status.INVALID_ARGUMENT);
      expect(error.details).toMatch(/^The body is larger than 4194304 bytes;/);
    }
  });

  it("is told that its message cannot be decoded", async () => {
    const { url } = await openGrpcReceiver();
    const error = (await exported(url, gzipSync(PYTHON))) as ServiceError;
    expect(error.code).toBe(status.INVALID_ARGUMENT);
  });
});

const PYTHON_EXPORT = `
import logging, sys
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

provider = LoggerProvider()
provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(timeout=20)))
logger = logging.getLogger("orchestrator.worker")
logger.setLevel(logging.INFO)
logger.addHandler(LoggingHandler(logger_provider=provider))
logging.getLogger("opentelemetry").addHandler(logging.StreamHandler(sys.stdout))
for number in range(100):
    logger.info("number %d", number)
provider.shutdown()
`;

/** Sends 100 records; returns what the SDK logs. */
async function exportedByPython(url: string, compression: object): Promise<string> {
  const python = await requirePython("opentelemetry.exporter.otlp.proto.grpc._log_exporter");
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: url, ...compression };
  return Program.run(python, ["-c", PYTHON_EXPORT], { cwd: tmpdir(), env });
}

describe("Python's SDK", () => {
  it.each([{}, { OTEL_EXPORTER_OTLP_COMPRESSION: "gzip" }])("exports with %j", async (given) => {
    const { url, intake } = await openGrpcReceiver();
    await exportedByPython(url, given);
    expect(intake.received).toBe(100);
  });

  it("retries temporary rejections", async () => {
    const { url, intake } = await openGrpcReceiver();
    const refused = new TailgateError("OVERLOADED", "The queue of the journal is full.");
    const errors = vi.fn(() => (errors.mock.calls.length > 2 ? undefined : refused));
    Object.defineProperty(intake, "error", { get: errors });
    expect(await exportedByPython(url, {})).toContain("RESOURCE_EXHAUSTED");
    expect(intake.received).toBe(100);
  });
});
