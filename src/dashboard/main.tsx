import { createRoot } from "react-dom/client";
import "./tokens.css";
import "./page.css";
import "./panel.css";
import "./details.css";
import "./finding.css";
import "./status-line.css";
import "./together.css";
import { App } from "./app.tsx";
import { Session } from "./session.ts";
import { ViewStore } from "./view-store.ts";

const views = new ViewStore();
const session = new Session(views.get());
session.follow(views);

createRoot(document.getElementById("page")!).render(<App session={session} views={views} />);
