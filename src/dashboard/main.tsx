import { createRoot } from "react-dom/client";
import "./tokens.css";
import "./page.css";
import "./panel.css";
import "./details.css";
import { App } from "./app.tsx";
import { openSession } from "./session.ts";

createRoot(document.getElementById("page")!).render(<App session={openSession()} />);
