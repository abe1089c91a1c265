import { useEffect, useRef, useState } from "react";
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

type FormatName = keyof typeof EXPORT_FORMATS;

const FORMAT_NAMES = Object.keys(EXPORT_FORMATS) as FormatName[];

/** Downloads all records of the journal that match, whether they are loaded or not. */
export function ExportDialog({ session, view, onClose }: ExportDialogProps) {
  const [format, setFormat] = useState<FormatName>("json");
  const [progress, setProgress] = useState<ExportProgress>();
  const [outcome, setOutcome] = useState("");
  const [isRunning, setIsRunning] = useState(false);
  const running = useRef<AbortController>(undefined);
  useEffect(() => () => running.current?.abort(), []);

  const run = async (): Promise<void> => {
    const abort = new AbortController();
    running.current = abort;
    setIsRunning(true);
    setOutcome("");
    try {
      const { history, bounds } = session;
      const file = await exportRecords({
        history,
        filter: toFilter(view),
        bounds,
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
      setIsRunning(false);
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
      <fieldset className="export-formats" disabled={isRunning}>
        <legend className="visually-hidden">{TEXTS.export.format}</legend>
        {FORMAT_NAMES.map((name) => (
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
        {isRunning ? (
          <button onClick={() => running.current?.abort()}>{TEXTS.export.cancel}</button>
        ) : (
          <button onClick={() => void run()}>{TEXTS.export.save}</button>
        )}
      </div>
    </Modal>
  );
}
