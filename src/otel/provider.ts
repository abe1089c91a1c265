import type { LoggerOptions, LoggerProvider } from "@opentelemetry/api";
import type { Resource } from "@opentelemetry/resources";
import { LoggerProvider as SdkLoggerProvider } from "@opentelemetry/sdk-logs";
import type { TailgateLogRecordProcessor } from "./processor.ts";
import { SafeLogger } from "./safe-logger.ts";

/**
 * The SDK's LoggerProvider with one processor, made safe: whatever a caller hands to `emit`, it does not throw, and
 * values that the SDK would drop arrive.
 */
export class TailgateLoggerProvider implements LoggerProvider {
  readonly #processor: TailgateLogRecordProcessor;
  readonly #sdk: SdkLoggerProvider;

  constructor(processor: TailgateLogRecordProcessor, resource: Resource) {
    this.#processor = processor;
    this.#sdk = new SdkLoggerProvider({ processors: [processor], resource });
  }

  getLogger(name: string, version?: string, options?: LoggerOptions): SafeLogger {
    const logger = this.#sdk.getLogger(name, version, options);
    return new SafeLogger({
      enabled: (asked) => logger.enabled(asked),
      emit: (record, attributes) =>
        this.#processor.withAttributes(attributes, () => logger.emit(record)),
    });
  }

  forceFlush(): Promise<void> {
    return this.#sdk.forceFlush();
  }

  shutdown(): Promise<void> {
    return this.#sdk.shutdown();
  }
}
