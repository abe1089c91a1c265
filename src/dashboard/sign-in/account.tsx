import { useId, useRef, useState } from "react";
import { printable } from "../../wire/printable.ts";
import { TEXTS } from "../texts.ts";
import { useSignInState, type Identity, type IdentityStore } from "./identity.ts";
import { SessionsDialog } from "./sessions-dialog.tsx";

/** Shows who is signed in, what they may do, and lets them sign out. Nothing without authentication. */
export function Account({ store }: { readonly store: IdentityStore }) {
  useSignInState(store);
  const { identity } = store;
  const [hasSessions, setHasSessions] = useState(false);
  const id = useId();
  const button = useRef<HTMLButtonElement>(null);
  const { principal } = identity;
  if (principal === null) return null;
  return (
    <>
      <button
        ref={button}
        className="account"
        popoverTarget={id}
        aria-label={TEXTS.account.button(principal)}
        title={TEXTS.account.button(principal)}
      >
        {printable(nameOf(principal))}
      </button>
      <div
        id={id}
        className="account-menu floating"
        popover="auto"
        onBeforeToggle={({ currentTarget }) => placeBelow(currentTarget, button.current!)}
      >
        <AccountFacts identity={identity} />
        <div className="actions">
          {identity.scopes.includes("admin") && (
            <button
              onClick={() => {
                document.getElementById(id)?.hidePopover();
                setHasSessions(true);
              }}
            >
              {TEXTS.account.sessions}
            </button>
          )}
          {identity.session && (
            <button onClick={() => void store.signOut()}>{TEXTS.account.signOut}</button>
          )}
        </div>
      </div>
      {hasSessions && (
        <SessionsDialog fetcher={store.fetch} onClose={() => setHasSessions(false)} />
      )}
    </>
  );
}

function AccountFacts({ identity }: { readonly identity: Identity }) {
  const { principal, scopes, filter, session } = identity;
  const facts = [
    [TEXTS.account.principal, principal!],
    [TEXTS.account.scopes, scopes.includes("admin") ? "admin" : scopes.join(", ")],
    [TEXTS.account.filter, filter],
    [TEXTS.account.expires, session && TEXTS.account.time(Date.parse(session.expires_at))],
  ] as const;
  return (
    <dl>
      {facts.map(
        ([name, text]) =>
          text !== null && (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{printable(text)}</dd>
            </div>
          ),
      )}
    </dl>
  );
}

/** Returns the name of a principal, such as `alice` of `user:alice`. */
function nameOf(principal: string): string {
  return principal.slice(principal.indexOf(":") + 1);
}

/** Aligns the right edges. */
function placeBelow(popover: HTMLElement, button: HTMLElement): void {
  const { right, bottom } = button.getBoundingClientRect();
  popover.style.right = `${Math.max(0, innerWidth - right)}px`;
  popover.style.top = `${bottom}px`;
}
