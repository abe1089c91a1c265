import { TEXTS } from "../texts.ts";
import type { LinkProblem } from "./use-record-link.ts";

interface LinkNoticeProps {
  readonly problem: LinkProblem | undefined;
  readonly onClose: () => void;
}

/** Says that what a link leads to is not there, and why. */
export function LinkNotice({ problem, onClose }: LinkNoticeProps) {
  return (
    <div className="link-notice" role="alert" hidden={!problem}>
      {problem && (
        <>
          <span>{TEXTS.link.problem(problem)}</span>
          <button type="button" onClick={onClose}>
            {TEXTS.link.close}
          </button>
        </>
      )}
    </div>
  );
}
