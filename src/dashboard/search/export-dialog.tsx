import { useEffect, useRef, useState } from "react";
import { exportRecords, saveFile, type ExportProgress } from "./export.ts";
import { EXPORT_FORMATS } from "./export-format.ts";
import { Modal } from "../modal.tsx";
import type { Session } from "../session/session.ts";
import { TEXTS } from "../texts.ts";
import { filterKey, filterOf, type View } from "../session/view.ts";

interface ExportDialogProps {
  readonly session: Session;
  readonly view: View;
  readonly onClose: () => void;
}

type Format = keyof typeof EXPORT_FORMATS;

const FORMATS = Object.keys(EXPORT_FORMATS) as Format[];

/** Saves what the filter finds in the whole journal, not what is loaded alone. */
export function ExportDialog({ session, view, onClose }: ExportDialogProps) {
  const [format, setFormat] = useState<Format>("json");
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
        filter: filterOf(view),
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
  const { q } = filterOf(view);
  return (
    <Modal title={TEXTS.export.title} onClose={onClose}>
      <p>{filterKey(view) === "" ? TEXTS.export.all : TEXTS.export.filtered}</p>
      {q && (
        <p>
          <code>{q}</code>
        </p>
      )}
      <fieldset className="export-formats" disabled={isRunning}>
        <legend className="unseen">{TEXTS.export.format}</legend>
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
        {isRunning ? (
          <button type="button" onClick={() => running.current?.abort()}>
            {TEXTS.export.cancel}
          </button>
        ) : (
          <button type="button" onClick={() => void run()}>
            {TEXTS.export.save}
          </button>
        )}
      </div>
    </Modal>
  );
}
