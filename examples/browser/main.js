import { SeverityNumber } from "@opentelemetry/api";
import { logger } from "./logging.js";

logger.emit({
  severityNumber: SeverityNumber.WARN,
  body: "The cart is empty",
  attributes: { path: location.pathname },
});

document.querySelector("button").addEventListener("click", () => {
  throw new Error("The payment form is missing");
});
