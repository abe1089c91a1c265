import { useCallback, useEffect, useState } from "react";
import { printable } from "../../wire/printable.ts";
import { Modal } from "../dialogs.tsx";
import { TEXTS } from "../texts.ts";

/** A session in the response of `/api/sessions`. */
interface SessionRow {
  readonly id: string;
  readonly principal: string | null;
  readonly address: string;
  readonly user_agent: string;
  readonly created_at: string;
  readonly used_at: string;
  readonly is_current: boolean;
}

const PATH = "api/sessions";

interface SessionsDialogProps {
  readonly fetcher: typeof fetch;
  readonly onClose: () => void;
}

/** Lists the sessions of all users, and lets an administrator end them. */
export function SessionsDialog({ fetcher, onClose }: SessionsDialogProps) {
  const [sessions, setSessions] = useState<readonly SessionRow[]>();
  const [problem, setProblem] = useState("");
  const request = useCallback(
    async (path: string, method = "GET"): Promise<Response | undefined> => {
      try {
        const response = await fetcher(path, { method, cache: "no-store" });
        if (response.ok || response.status === 404) return response;
        // The user signs in first.
        if (response.status === 401) return undefined;
        setProblem(TEXTS.signIn.problem({ kind: "failed", status: response.status }));
      } catch {
        setProblem(TEXTS.signIn.problem({ kind: "unreachable" }));
      }
      return undefined;
    },
    [fetcher],
  );
  const load = useCallback(async (): Promise<void> => {
    const response = await request(PATH);
    if (response === undefined) return;
    const { sessions: listed } = (await response.json()) as { sessions: readonly SessionRow[] };
    setSessions(listed);
  }, [request]);
  useEffect(() => void load(), [load]);
  const end = async ({ id }: SessionRow): Promise<void> => {
    if (await request(`${PATH}/${encodeURIComponent(id)}`, "DELETE")) await load();
  };
  return (
    <Modal title={TEXTS.sessions.title} onClose={onClose}>
      {problem !== "" && <p role="alert">{problem}</p>}
      {sessions?.length === 0 && <p>{TEXTS.sessions.none}</p>}
      <ul className="sessions">
        {sessions?.map((session) => (
          <li key={session.id}>
            <div>
              <strong>{printable(session.principal ?? "")}</strong>{" "}
              {session.is_current && <em>{TEXTS.sessions.current}</em>}
              <p title={printable(session.user_agent)}>
                {TEXTS.sessions.from(printable(session.address), browserOf(session.user_agent))}
              </p>
              <p>
                {TEXTS.sessions.times(Date.parse(session.created_at), Date.parse(session.used_at))}
              </p>
            </div>
            <button
              aria-label={TEXTS.sessions.endOf(printable(session.principal ?? ""))}
              onClick={() => void end(session)}
            >
              {TEXTS.sessions.end}
            </button>
          </li>
        ))}
      </ul>
    </Modal>
  );
}

/** The most specific names first: most browsers name others, too. */
const BROWSERS = [
  ["Edg/", "Edge"],
  ["OPR/", "Opera"],
  ["Firefox/", "Firefox"],
  ["Chrome/", "Chrome"],
  ["Safari/", "Safari"],
] as const;

function browserOf(userAgent: string): string {
  const known = BROWSERS.find(([mark]) => userAgent.includes(mark));
  return known?.[1] ?? printable(userAgent.split(/[ /]/, 1)[0]!);
}
