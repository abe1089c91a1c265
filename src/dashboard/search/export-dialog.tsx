import { useEffect, useState } from "react";
import { Modal } from "../dialogs.tsx";
import type { DashboardSession } from "../session/session.ts";
import { filterKey, toFilter, type View } from "../session/view.ts";
import { TEXTS } from "../texts.ts";
import { EXPORT_FORMATS, exportRecords, saveFile, type ExportProgress } from "./export.ts";

interface ExportDialogProps {
  readonly session: DashboardSession;
  readonly view: View;
  readonly onClose: () => void;
}

const FORMATS = Object.keys(EXPORT_FORMATS) as (keyof typeof EXPORT_FORMATS)[];

/** Downloads all records of the journal that match, whether they are loaded or not. */
export function ExportDialog({ session, view, onClose }: ExportDialogProps) {
  const [format, setFormat] = useState(FORMATS[0]!);
  const [progress, setProgress] = useState<ExportProgress>();
  const [outcome, setOutcome] = useState("");
  const [running, setRunning] = useState<AbortController>();
  useEffect(() => () => running?.abort(), [running]);

  const run = async (): Promise<void> => {
    const abort = new AbortController();
    setRunning(abort);
    setOutcome("");
    try {
      const file = await exportRecords({
        history: session.history,
        filter: toFilter(view),
        bounds: session.bounds,
        format: EXPORT_FORMATS[format],
        signal: abort.signal,
        onProgress: setProgress,
      });
      saveFile(file, format);
      setOutcome(TEXTS.export.done);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      setOutcome(abort.signal.aborted ? TEXTS.export.cancelled : TEXTS.export.failed(reason));
    } finally {
      setRunning(undefined);
    }
  };
  const { q } = toFilter(view);
  return (
    <Modal title={TEXTS.export.title} onClose={onClose}>
      <p>{filterKey(view) === "" ? TEXTS.export.all : TEXTS.export.filtered}</p>
      {q && (
        <p>
          <code>{q}</code>
        </p>
      )}
      <fieldset className="export-formats" disabled={running !== undefined}>
        <legend className="visually-hidden">{TEXTS.export.format}</legend>
        {FORMATS.map((name) => (
          <label key={name}>
            <input
              type="radio"
              name="format"
              checked={name === format}
              onChange={() => setFormat(name)}
            />
            {TEXTS.export.formats[name]}
          </label>
        ))}
      </fieldset>
      <p className="export-state" role="status">
        {progress && TEXTS.export.progress(progress)} {outcome}
      </p>
      <div className="actions">
        {running ? (
          <button onClick={() => running.abort()}>{TEXTS.export.cancel}</button>
        ) : (
          <button onClick={() => void run()}>{TEXTS.export.save}</button>
        )}
      </div>
    </Modal>
  );
}
