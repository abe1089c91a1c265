import { defineExporter, z, type Batch, type Exporter } from "tailgate/plugin";
import { consoleLine } from "./console/console-line.ts";
import { StandardStream } from "./console/standard-stream.ts";

/** Text is made in pieces of about this size, so that a large batch does not keep the event loop from others. */
const PIECE_CHARS = 1 << 16;

const options = z.strictObject({
  stream: z.enum(["stderr", "stdout"]).default("stderr").describe("Where the lines go."),
  color: z
    .enum(["auto", "always", "never"])
    .default("auto")
    .describe("Colours of levels; `auto`: on a terminal, unless NO_COLOR is set."),
});

export default defineExporter({
  name: "console",
  description: "Shows system logs as lines for people on standard error.",
  live: true,
  type: "system_log",
  options,
  async open({ stream, color }) {
    const output = await StandardStream.open(stream);
    const isAutoColored = output.isTerminal && !process.env["NO_COLOR"];
    return new Console(output, color === "always" || (color === "auto" && isAutoColored));
  },
});

class Console implements Exporter {
  readonly #output: StandardStream;
  readonly #isColored: boolean;
  /** The sequence of the newest record whose text the output has. */
  #sequence = 0;

  constructor(output: StandardStream, isColored: boolean) {
    this.#output = output;
    this.#isColored = isColored;
  }

  /** Goes on where an attempt before stopped, in the middle of a line too. */
  async write(batch: Batch, signal: AbortSignal): Promise<void> {
    await this.#output.flush(signal);
    let index = 0;
    while (index < batch.length && batch.sequence(index) <= this.#sequence) index++;
    while (index < batch.length) {
      let piece = "";
      while (index < batch.length && piece.length < PIECE_CHARS) {
        piece += consoleLine(batch.envelope(index++), this.#isColored);
      }
      this.#sequence = batch.sequence(index - 1);
      await this.#output.write(piece, signal);
    }
  }

  async close(): Promise<void> {
    await this.#output.close();
  }
}
