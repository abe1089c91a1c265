import type { Counters } from "../delivery/counters.ts";
import type { Ingested, Intake } from "../plugin/index.ts";

/** The intake as one receiver sees it: what came through it is counted as its own. */
export function countedIntake(intake: Intake, counters: Counters): Intake {
  const counted = async (ingesting: Promise<Ingested>): Promise<Ingested> => {
    try {
      const ingested = await ingesting;
      counters.received += ingested.accepted + ingested.rejected;
      counters.sent += ingested.accepted;
      counters.drop("rejected", ingested.rejected);
      return ingested;
    } catch (error) {
      counters.failed++;
      throw error;
    }
  };
  return {
    otlpProtobuf: (body) => counted(intake.otlpProtobuf(body)),
    otlpJson: (body) => counted(intake.otlpJson(body)),
    records: (records) => counted(intake.records(records)),
  };
}
