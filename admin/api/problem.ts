// Refusals of the admin API as problem documents (RFC 9457), with a stable code.

import { STATUS_CODES } from "node:http";
import { ControlError } from "./control.ts";

export type Problem = {
  readonly type: "about:blank";
  readonly title: string;
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly [field: string]: unknown;
};

/** The problem document of what a handler threw; what is no refusal is an internal error. */
export function problemOf(error: unknown): Problem {
  const refusal =
    error instanceof ControlError
      ? error
      : new ControlError(500, "internal", "The admin API failed; the gateway's log says why.");
  const { status, code, message, fields } = refusal;
  const title = STATUS_CODES[status] ?? "Error";
  return { type: "about:blank", title, status, code, detail: message, ...fields };
}
