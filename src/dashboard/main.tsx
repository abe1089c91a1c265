import { createRoot } from "react-dom/client";
import "./tokens.css";
import "./page.css";
import "./panel.css";
import "./details.css";
import "./finding.css";
import "./status-line.css";
import "./together.css";
import { App } from "./app.tsx";
import { GatewayClock } from "./gateway-clock.ts";
import { Session } from "./session.ts";
import { ViewStore } from "./view-store.ts";
import { isSliding } from "./view.ts";

const views = new ViewStore();
const clock = new GatewayClock();
// The last minutes are those of the gateway.
if (isSliding(views.get().range)) await clock.learn();
const session = new Session(views.get(), clock);
session.follow(views);

createRoot(document.getElementById("page")!).render(<App session={session} views={views} />);
