import { useEffect, useId, useRef, useState, type FormEvent } from "react";
import { TEXTS } from "../texts.ts";
import type { IdentityStore } from "./identity.ts";

interface SignInFormProps {
  readonly identity: IdentityStore;
  /** Why the user has to sign in; "" if that is obvious. */
  readonly reason: string;
}

function SignInForm({ identity, reason }: SignInFormProps) {
  const [token, setToken] = useState("");
  const [problem, setProblem] = useState("");
  const [isBusy, setIsBusy] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const id = useId();
  const signIn = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setIsBusy(true);
    setProblem("");
    const failure = await identity.signIn({ token: token.trim() });
    if (failure === undefined) return;
    setProblem(TEXTS.signIn.problem(failure));
    setIsBusy(false);
    input.current?.select();
  };
  return (
    <form className="sign-in" onSubmit={(event) => void signIn(event)}>
      <h1>{TEXTS.signIn.title}</h1>
      {reason !== "" && <p className="sign-in-reason">{reason}</p>}
      <label htmlFor={id}>{TEXTS.signIn.token}</label>
      <input
        ref={input}
        id={id}
        type="password"
        name="token"
        autoComplete="current-password"
        autoFocus
        required
        spellCheck={false}
        placeholder={TEXTS.signIn.placeholder}
        aria-invalid={problem !== ""}
        aria-describedby={`${id}-problem ${id}-hint`}
        value={token}
        onChange={({ target }) => setToken(target.value)}
      />
      <p id={`${id}-problem`} className="sign-in-problem" role="alert">
        {problem}
      </p>
      <button className="primary" disabled={isBusy}>
        {isBusy ? TEXTS.signIn.busy : TEXTS.signIn.button}
      </button>
      <p id={`${id}-hint`} className="sign-in-hint">
        {TEXTS.signIn.hint} <code>{TEXTS.signIn.command}</code>
      </p>
    </form>
  );
}

/** The page of a user who is not signed in. */
export function SignInPage(props: SignInFormProps) {
  return (
    <main className="sign-in-page">
      <SignInForm {...props} />
    </main>
  );
}

/** Covers the page while the user is signed out; what it shows stays. */
export function SignInDialog(props: SignInFormProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current!.showModal(), []);
  return (
    <dialog
      ref={dialog}
      className="modal sign-in-dialog"
      aria-label={TEXTS.signIn.title}
      onCancel={(event) => event.preventDefault()}
      // Some browsers let a second Escape close it.
      onClose={() => dialog.current?.showModal()}
    >
      <SignInForm {...props} />
    </dialog>
  );
}
