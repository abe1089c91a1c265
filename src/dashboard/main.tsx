import { createRoot } from "react-dom/client";
import "./tokens.css";
import "./dashboard.css";
import "./panel/panel.css";
import "./details/details.css";
import "./search/search.css";
import "./status/status.css";
import { App } from "./app.tsx";
import { GatewayClock } from "./session/gateway-clock.ts";
import { DashboardSession } from "./session/session.ts";
import { isSliding, ViewStore } from "./session/view.ts";

const views = new ViewStore();
const clock = new GatewayClock();
// "The last minutes" are in the gateway's time.
if (isSliding(views.get().range)) await clock.learn();
const session = new DashboardSession(views.get(), clock);
session.follow(views);

createRoot(document.getElementById("dashboard")!).render(<App session={session} views={views} />);
