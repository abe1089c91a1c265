import { READ_ACCESS } from "../server/routes.ts";
import type { AccessRecorder } from "../server/access-recorder.ts";
import type { Endpoint } from "../server/application.ts";
import { HttpError } from "../server/rejections.ts";
import type { HostJournal } from "../../plugin/index.ts";
import { HISTORY_PATH } from "./history.ts";
import { journalChanged, type JournalSearches } from "./journal-search.ts";
import { parseRecordQuery } from "./query.ts";

export const RECORD_PATH = `${HISTORY_PATH}/{sequence}`;

/**
 * GET /api/logs/{sequence}: one record as its envelope and as the OpenTelemetry record that it was made from: with resource,
 * scope, schema URLs, observed time, flags and dropped counts. `epoch`, if given, is that of the sequence. Records that the
 * client may not read are answered as if they did not exist.
 */
export function record(
  journal: HostJournal,
  searches: JournalSearches,
  recorder: AccessRecorder | undefined,
): Endpoint {
  return {
    path: RECORD_PATH,
    access: READ_ACCESS,
    async respond(context, { access, id }) {
      const { sequence, epoch } = parseRecordQuery(id, context.querystring);
      const isKnown = epoch === undefined || epoch === journal.epoch;
      if (!isKnown && (journal.sharedUpTo(epoch, sequence) ?? -1) < sequence) {
        throw journalChanged("The journal does not have this record of that epoch.");
      }
      const found = await searches.find(sequence, { socket: context.req.socket, access });
      if (found === undefined) {
        const why = "it was not stored, has expired, or you may not read it";
        throw new HttpError(404, "NOT_FOUND", `There is no record ${sequence}: ${why}.`);
      }
      recorder?.read(context.req, access, {
        records: 1,
        isExport: false,
        query: `sequence=${sequence}`,
      });
      const envelope = found.bytes(0);
      const hash = found.hash(0);
      context.type = "application/json";
      context.body = Buffer.concat([
        Buffer.from(`{"epoch":${JSON.stringify(journal.epoch)},"sequence":${sequence},`),
        // The members of the envelope.
        envelope.subarray(1, -1),
        Buffer.from(`${hash === "" ? "" : `,"hash":"${hash}"`},"otlp":`),
        found.otlpJson({}),
        Buffer.from("}"),
      ]);
    },
  };
}
