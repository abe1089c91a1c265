import { useEffect, useState } from "react";
import { App } from "./app.tsx";
import { useTheme } from "./hooks.ts";
import type { GatewayClock } from "./session/gateway-clock.ts";
import { DashboardSession } from "./session/session.ts";
import type { ViewStore } from "./session/view.ts";
import { useSignInState, type IdentityStore, type SignInProblem } from "./sign-in/identity.ts";
import { SignInDialog, SignInPage } from "./sign-in/sign-in-form.tsx";
import { TEXTS } from "./texts.ts";

interface RootProps {
  readonly identity: IdentityStore;
  readonly views: ViewStore;
  readonly clock: GatewayClock;
  /** Why the login link did not sign in; undefined if it did, or if there was none. */
  readonly linkProblem: SignInProblem | undefined;
}

/** The dashboard, once the user is signed in or does not need to be. */
export function Root({ identity, views, clock, linkProblem }: RootProps) {
  useTheme();
  const state = useSignInState(identity);
  const isSignedOut = state.kind === "signed-out";
  const problem = linkProblem ?? (isSignedOut ? state.refused : undefined);
  const [session, setSession] = useState<DashboardSession>();
  useEffect(() => {
    if (isSignedOut) return;
    if (session) return session.reconnect();
    const opened = new DashboardSession(views.get(), { clock, identity });
    opened.follow(views);
    setSession(opened);
  }, [isSignedOut, session, views, clock, identity]);
  return (
    <>
      {session && <App session={session} views={views} />}
      {isSignedOut &&
        (session ? (
          <SignInDialog identity={identity} reason={TEXTS.signIn.ended} />
        ) : (
          <SignInPage identity={identity} reason={problem ? TEXTS.signIn.problem(problem) : ""} />
        ))}
    </>
  );
}
