import { createRoot } from "react-dom/client";
import "./tokens.css";
import "./dashboard.css";
import "./panel/panel.css";
import "./details/details.css";
import "./search/search.css";
import "./status/status.css";
import "./sign-in/sign-in.css";
import { Root } from "./root.tsx";
import { GatewayClock } from "./session/gateway-clock.ts";
import { isSliding, ViewStore } from "./session/view.ts";
import { IdentityStore, takeLoginCode } from "./sign-in/identity.ts";

const code = takeLoginCode();
const views = new ViewStore();
const clock = new GatewayClock();
const identity = new IdentityStore();
const problem = code === undefined ? undefined : await identity.signIn({ code });
await Promise.all([
  identity.learn(),
  // "The last minutes" are in the gateway's time.
  isSliding(views.get().range) && clock.learn(),
]);

createRoot(document.getElementById("dashboard")!).render(
  <Root identity={identity} views={views} clock={clock} linkProblem={problem} />,
);
