// Reads the small JSON bodies of the admin API.

import { ControlError } from "./control.ts";

/** The body as a JSON object; throws 400. */
export function jsonBody(body: Buffer): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(body.toString("utf8"));
  } catch (error) {
    const reason = error instanceof Error ? error.message : "";
    throw new ControlError(400, "bad_json", `The body is not JSON: ${reason}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ControlError(400, "bad_json", "The body is not a JSON object.");
  }
  return value as Readonly<Record<string, unknown>>;
}
