import { createRoot } from "react-dom/client";
import { Log } from "./log.jsx";

const url = new URLSearchParams(location.search).get("gateway") ?? "http://localhost:8001";

createRoot(document.querySelector("main")).render(<Log url={url} />);
