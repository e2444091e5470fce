// What one call of an uploaded plugin asks for, gathered while it runs and applied only when it ended
// well: a plugin that fails half way leaves no trace. Everything a plugin says is checked here, for
// both ways of saying it: host functions and JSON output.

import { FRAMING_HEADERS } from "../base/header-names.ts";
import type { Exchange } from "../exchange.ts";
import { normalizeTarget } from "../routing/normalize.ts";
import { isFieldValue, isToken } from "../wire/chars.ts";
import type { ResponseView } from "./phases.ts";
import type { Verdict } from "./verdict.ts";

/** Bounds of one decision; abi.md lists them for authors. */
export const DECISION_LIMITS = {
  headersMax: 64,
  headerValueBytesMax: 8_192,
  bodyBytesMax: 65_536,
  reasonCharsMax: 256,
  valuesMax: 32,
  valueCharsMax: 4_096,
  pathCharsMax: 4_096,
} as const;

/** Names that delimit messages or belong to one connection: no plugin writes them. */
const DENIED_NAMES: ReadonlySet<string> = new Set([
  ...FRAMING_HEADERS,
  "date",
  "http2-settings",
  "x-request-id",
]);

type Edit = readonly [name: string, value: string | null];
type ResponseEdit = {
  readonly name: string;
  readonly value: string | null;
  readonly adds: boolean;
};

/** A decision as plain data, for the way between threads. */
export type DecisionData = {
  readonly status: number;
  readonly body: string;
  readonly reason: string;
  readonly path: string | null;
  readonly headers: readonly Edit[];
  readonly requestEdits: readonly Edit[];
  readonly responseEdits: readonly ResponseEdit[];
  readonly values: readonly Edit[];
};

/** Gathers one decision; begun anew for each call. Every method returns null or what is wrong. */
export class Decision {
  #status = 0;
  #body = "";
  #reason = "";
  #path: string | null = null;
  readonly #headers: [string, string][] = [];
  readonly #requestEdits: Edit[] = [];
  readonly #responseEdits: ResponseEdit[] = [];
  readonly #values: [string, string][] = [];

  /** Forgets the call before. */
  begin(): void {
    this.#status = 0;
    this.#body = "";
    this.#reason = "";
    this.#path = null;
    this.#headers.length = 0;
    this.#requestEdits.length = 0;
    this.#responseEdits.length = 0;
    this.#values.length = 0;
  }

  respond(status: number, body: string): string | null {
    if (!Number.isInteger(status) || status < 200 || status > 599) {
      return `a response needs a status from 200 to 599, not ${status}`;
    }
    if (Buffer.byteLength(body) > DECISION_LIMITS.bodyBytesMax) {
      return `a body has at most ${DECISION_LIMITS.bodyBytesMax} bytes`;
    }
    this.#status = status;
    this.#body = body;
    return null;
  }

  addHeader(name: string, value: string): string | null {
    const why = checkHeader(name, value, this.#headers.length);
    if (why === null) this.#headers.push([name.toLowerCase(), value]);
    return why;
  }

  editRequest(name: string, value: string | null): string | null {
    const why = checkHeader(name, value ?? "", this.#requestEdits.length);
    if (why === null) this.#requestEdits.push([name.toLowerCase(), value]);
    return why;
  }

  editResponse(name: string, value: string | null): string | null {
    const why = checkHeader(name, value ?? "", this.#responseEdits.length);
    if (why === null) this.#responseEdits.push({ name: name.toLowerCase(), value, adds: false });
    return why;
  }

  /** A line of its own beside those of this name: what Set-Cookie needs. */
  addToResponse(name: string, value: string): string | null {
    const why = checkHeader(name, value, this.#responseEdits.length);
    if (why === null) this.#responseEdits.push({ name: name.toLowerCase(), value, adds: true });
    return why;
  }

  /** Says why, for log and metrics; cut, and without control characters. */
  setReason(reason: string): void {
    let text = "";
    for (const char of reason.slice(0, DECISION_LIMITS.reasonCharsMax)) {
      const code = char.codePointAt(0) ?? 0;
      text += code < 32 || (code >= 127 && code < 160) ? " " : char;
    }
    this.#reason = text;
  }

  setPath(path: string): string | null {
    const normal = path.length > DECISION_LIMITS.pathCharsMax ? null : normalizeTarget(path);
    if (normal === null || normal.query !== "" || normal.path !== path) {
      return "a path must be in normal form, start with a slash and have no query";
    }
    this.#path = path;
    return null;
  }

  setValue(name: string, value: string): string | null {
    if (this.#values.length >= DECISION_LIMITS.valuesMax) {
      return `at most ${DECISION_LIMITS.valuesMax} values can be set`;
    }
    if (!isToken(name) || name.length > 64) return "a value's name is a token of at most 64";
    if (value.length > DECISION_LIMITS.valueCharsMax) {
      return `a value has at most ${DECISION_LIMITS.valueCharsMax} characters`;
    }
    this.#values.push([name, value]);
    return null;
  }

  /** Takes a decision from a plugin's JSON output; what is wrong with it, or null. */
  takeJson(text: string): string | null {
    let parsed: unknown;
    try {
      parsed = JSON.parse(text);
    } catch {
      return "the output is not JSON";
    }
    if (!isRecord(parsed)) return "the output is not a JSON object";
    const action = parsed["action"] ?? "continue";
    for (const key of ["status", "body", "headers"]) {
      // A denial whose action was forgotten must not let pass.
      if (key in parsed && action !== "respond") return `${key} goes with "action": "respond"`;
    }
    for (const [key, value] of Object.entries(parsed)) {
      const why = this.#takeField(key, value, parsed);
      if (why !== null) return why;
    }
    return null;
  }

  /** What was gathered, for `takeData`. */
  data(): DecisionData {
    return {
      status: this.#status,
      body: this.#body,
      reason: this.#reason,
      path: this.#path,
      headers: this.#headers,
      requestEdits: this.#requestEdits,
      responseEdits: this.#responseEdits,
      values: this.#values,
    };
  }

  /** Takes what another decision gathered, checked as if a plugin said it now; what is wrong, or null. */
  takeData(data: unknown): string | null {
    if (!isRecord(data)) return NO_DATA;
    const { status, body, path } = data;
    if (status !== 0) {
      const why = this.respond(Number(status), textOf(body));
      if (why !== null) return why;
    }
    this.setReason(textOf(data["reason"]));
    const why = path === null ? null : this.setPath(textOf(path));
    return (
      why ??
      eachPair(data["headers"], (name, value) => this.addHeader(name, value ?? "")) ??
      eachPair(data["values"], (name, value) => this.setValue(name, value ?? "")) ??
      eachPair(data["requestEdits"], (name, value) => this.editRequest(name, value)) ??
      eachEdit(data["responseEdits"], (name, value, adds) =>
        adds ? this.addToResponse(name, value ?? "") : this.editResponse(name, value),
      )
    );
  }

  /** What makes a decision of the request phase meaningless, or null. */
  requestFault(): string | null {
    return this.#headers.length > 0 && this.#status === 0
      ? "a response header without respond"
      : null;
  }

  /** What a decision of the response phase asks for and cannot have, or null. */
  responseFault(): string | null {
    const isLate = this.#status !== 0 || this.#path !== null || this.#requestEdits.length > 0;
    return isLate || this.#headers.length > 0 ? "the response phase only edits the response" : null;
  }

  /** Carries out a decision of the request phase. */
  applyToRequest(exchange: Exchange): Verdict {
    for (const [name, value] of this.#requestEdits) exchange.editRequestHeader(name, value);
    for (const { name, value, adds } of this.#responseEdits) {
      if (adds) exchange.addResponseHeader(name, value ?? "");
      else exchange.editResponseHeader(name, value);
    }
    for (const [name, value] of this.#values) (exchange.values ??= new Map()).set(name, value);
    if (this.#status !== 0) {
      const headers = [...this.#headers];
      if (this.#body !== "" && !headers.some(([name]) => name === "content-type")) {
        headers.push(["content-type", "text/plain; charset=utf-8"]);
      }
      const response = { status: this.#status, headers, body: this.#body };
      return { kind: "respond", response, reason: this.#reason };
    }
    if (this.#path !== null) exchange.path = this.#path;
    return null;
  }

  /** Carries out a decision of the response phase that has no `responseFault`. */
  applyToResponse(exchange: Exchange, response: ResponseView): void {
    for (const { name, value, adds } of this.#responseEdits) {
      if (value === null) response.remove(name);
      else if (adds) response.add(name, value);
      else response.set(name, value);
    }
    for (const [name, value] of this.#values) (exchange.values ??= new Map()).set(name, value);
  }

  get responds(): boolean {
    return this.#status !== 0;
  }

  #takeField(key: string, value: unknown, all: Readonly<Record<string, unknown>>): string | null {
    switch (key) {
      case "action":
        if (value === "continue") return null;
        if (value !== "respond") return 'action is "continue" or "respond"';
        return this.respond(Number(all["status"]), textOf(all["body"] ?? ""));
      case "status":
      case "body":
        return typeof value === (key === "status" ? "number" : "string") ? null : `a bad ${key}`;
      case "reason":
        this.setReason(textOf(value));
        return null;
      case "path":
        return this.setPath(textOf(value));
      case "headers":
        return eachEntry(key, value, (name, text) => this.addHeader(name, text));
      case "set_request_headers":
        return eachEntry(key, value, (name, text) => this.editRequest(name, text));
      case "set_response_headers":
        return eachEntry(key, value, (name, text) => this.editResponse(name, text));
      case "add_response_headers":
        return eachText(key, value, (name, text) => this.addToResponse(name, text));
      case "values":
        return eachEntry(key, value, (name, text) => this.setValue(name, text));
      case "remove_request_headers":
        return eachName(key, value, (name) => this.editRequest(name, null));
      case "remove_response_headers":
        return eachName(key, value, (name) => this.editResponse(name, null));
      default:
        return `the key ${JSON.stringify(key.slice(0, 60))} is not part of a decision`;
    }
  }
}

function checkHeader(name: string, value: string, count: number): string | null {
  if (count >= DECISION_LIMITS.headersMax) {
    return `at most ${DECISION_LIMITS.headersMax} headers can be set`;
  }
  if (name.length > 128 || !isToken(name)) return "a header's name is a token of at most 128";
  if (DENIED_NAMES.has(name.toLowerCase())) return `${name} belongs to the gateway`;
  if (value.length > DECISION_LIMITS.headerValueBytesMax || !isFieldValue(value)) {
    return `the value of ${name} is too long or holds control characters`;
  }
  return null;
}

const NO_DATA = "what came back from the thread is no decision";

function eachPair(
  list: unknown,
  take: (name: string, value: string | null) => string | null,
): string | null {
  if (!Array.isArray(list)) return NO_DATA;
  for (const pair of list as unknown[]) {
    const [name, value] = Array.isArray(pair) ? (pair as unknown[]) : [];
    const why = isEdit(name, value) ? take(name, value as string | null) : NO_DATA;
    if (why !== null) return why;
  }
  return null;
}

function eachEdit(
  list: unknown,
  take: (name: string, value: string | null, adds: boolean) => string | null,
): string | null {
  if (!Array.isArray(list)) return NO_DATA;
  for (const edit of list as unknown[]) {
    if (!isRecord(edit)) return NO_DATA;
    const { name, value, adds } = edit;
    const why = isEdit(name, value) ? take(name, value as string | null, adds === true) : NO_DATA;
    if (why !== null) return why;
  }
  return null;
}

function isEdit(name: unknown, value: unknown): name is string {
  return typeof name === "string" && (value === null || typeof value === "string");
}

function eachEntry(
  key: string,
  value: unknown,
  take: (name: string, text: string) => string | null,
): string | null {
  if (!isRecord(value)) return `${key} is not an object`;
  for (const [name, text] of Object.entries(value)) {
    if (typeof text !== "string") return `${key} holds something else than text`;
    const why = take(name, text);
    if (why !== null) return why;
  }
  return null;
}

// Like eachEntry, where a name may have a list of texts.
function eachText(
  key: string,
  value: unknown,
  take: (name: string, text: string) => string | null,
): string | null {
  if (!isRecord(value)) return `${key} is not an object`;
  for (const [name, texts] of Object.entries(value)) {
    const why = eachName(key, typeof texts === "string" ? [texts] : texts, (text) =>
      take(name, text),
    );
    if (why !== null) return why;
  }
  return null;
}

function eachName(
  key: string,
  value: unknown,
  take: (name: string) => string | null,
): string | null {
  if (!Array.isArray(value)) return `${key} is not a list`;
  for (const name of value as unknown[]) {
    if (typeof name !== "string") return `${key} holds something else than text`;
    const why = take(name);
    if (why !== null) return why;
  }
  return null;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
