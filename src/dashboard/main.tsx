import { createRoot } from "react-dom/client";
import "./tokens.css";
import "./dashboard.css";
import "./panel/panel.css";
import "./details/details.css";
import "./search/search.css";
import "./status/status.css";
import "./details/correlation.css";
import { App } from "./app.tsx";
import { GatewayClock } from "./session/gateway-clock.ts";
import { Session } from "./session/session.ts";
import { ViewStore } from "./session/view-store.ts";
import { isSliding } from "./session/view.ts";

const views = new ViewStore();
const clock = new GatewayClock();
// The last minutes are those of the gateway.
if (isSliding(views.get().range)) await clock.learn();
const session = new Session(views.get(), clock);
session.follow(views);

createRoot(document.getElementById("page")!).render(<App session={session} views={views} />);
