import { useEffect, useId, useRef, type ReactNode } from "react";
import { TEXTS } from "./texts.ts";

interface ModalProps {
  readonly title: string;
  readonly onClose: () => void;
  readonly children: ReactNode;
}

/** A dialog over the page: Escape closes it, and the focus goes back to where it was. */
export function Modal({ title, onClose, children }: ModalProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const titleId = useId();
  useEffect(() => dialog.current!.showModal(), []);
  return (
    <dialog ref={dialog} className="modal" aria-labelledby={titleId} onClose={onClose}>
      <div className="modal-head">
        <h2 id={titleId}>{title}</h2>
        <button type="button" onClick={() => dialog.current!.close()}>
          {TEXTS.close}
        </button>
      </div>
      {children}
    </dialog>
  );
}
