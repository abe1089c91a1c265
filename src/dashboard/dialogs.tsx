import { useEffect, useId, useRef, useState, type FormEvent, type ReactNode } from "react";
import { useStoredSetting } from "./hooks.ts";
import { formatView, parseView, type View } from "./session/view.ts";
import { TEXTS } from "./texts.ts";

interface ModalProps {
  readonly title: string;
  readonly onClose: () => void;
  readonly children: ReactNode;
}

/** A modal dialog. Escape closes it, and the focus returns to where it was. */
export function Modal({ title, onClose, children }: ModalProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const titleId = useId();
  useEffect(() => dialog.current!.showModal(), []);
  return (
    <dialog ref={dialog} className="modal" aria-labelledby={titleId} onClose={onClose}>
      <div className="modal-head sticky-head">
        <h2 id={titleId}>{title}</h2>
        <button onClick={() => dialog.current!.close()}>{TEXTS.close}</button>
      </div>
      {children}
    </dialog>
  );
}

/** Lists the keyboard shortcuts, and summarizes the filter language. */
export function HelpDialog({ onClose }: { readonly onClose: () => void }) {
  return (
    <Modal title={TEXTS.help.title} onClose={onClose}>
      <div className="help">
        <section>
          <h3>{TEXTS.help.keys}</h3>
          <dl>
            {TEXTS.help.shortcuts.map(({ keys, action }) => (
              <div key={action}>
                <dt>
                  {keys.map((key) => (
                    <kbd key={key}>{key}</kbd>
                  ))}
                </dt>
                <dd>{action}</dd>
              </div>
            ))}
          </dl>
        </section>
        <section>
          <h3>{TEXTS.help.language}</h3>
          <dl>
            {TEXTS.help.terms.map(({ term, matches }) => (
              <div key={term}>
                <dt>
                  <code>{term}</code>
                </dt>
                <dd>{matches}</dd>
              </div>
            ))}
          </dl>
        </section>
      </div>
    </Modal>
  );
}

interface SavedView {
  readonly name: string;
  /** The query of its address. */
  readonly search: string;
}

interface SavedViewsDialogProps {
  readonly view: View;
  readonly onOpen: (view: View) => void;
  readonly onClose: () => void;
}

/** Saves views by name in this browser. */
export function SavedViewsDialog({ view, onOpen, onClose }: SavedViewsDialogProps) {
  const [saved, setSaved] = useStoredSetting<readonly SavedView[]>("views", [], areSavedViews);
  const [name, setName] = useState("");
  const without = (one: string): SavedView[] => saved.filter((other) => other.name !== one);
  const save = (event: FormEvent): void => {
    event.preventDefault();
    const trimmed = name.trim();
    if (trimmed === "") return;
    const search = formatView({ ...view, record: undefined });
    setSaved([...without(trimmed), { name: trimmed, search }]);
    setName("");
  };
  return (
    <Modal title={TEXTS.views.title} onClose={onClose}>
      <div className="saved-views">
        {saved.length === 0 && <p>{TEXTS.views.none}</p>}
        <ul>
          {saved.map((one) => (
            <li key={one.name}>
              <button className="view" onClick={() => onOpen(parseView(one.search))}>
                {one.name}
              </button>
              <button
                aria-label={TEXTS.views.remove(one.name)}
                onClick={() => setSaved(without(one.name))}
              >
                ×
              </button>
            </li>
          ))}
        </ul>
        <form onSubmit={save}>
          <input
            aria-label={TEXTS.views.name}
            placeholder={TEXTS.views.name}
            maxLength={60}
            value={name}
            onChange={({ target }) => setName(target.value)}
          />
          <button>{TEXTS.views.save}</button>
        </form>
      </div>
    </Modal>
  );
}

function areSavedViews(value: unknown): value is readonly SavedView[] {
  return (
    Array.isArray(value) &&
    value.every((one) => typeof one?.name === "string" && typeof one.search === "string")
  );
}
