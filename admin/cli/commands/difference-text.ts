// One request that two versions decide differently, for people.

import { plain } from "../output.ts";

export type ShownSaid = {
  readonly action: string;
  readonly status: number | null;
  readonly reason: string;
  readonly path: string | null;
  readonly request_headers: Readonly<Record<string, string | null>>;
  readonly response_headers: Readonly<Record<string, string | null>>;
  readonly values: Readonly<Record<string, string | null>>;
};

export type ShownDifference = {
  readonly at_ms: number;
  readonly request_id: string;
  readonly route: string;
  readonly phase: string;
  readonly differs: readonly string[];
  readonly request: {
    readonly method: string;
    readonly host: string;
    readonly path: string;
    readonly query: string;
    readonly client_ip: string;
    readonly consumer: string | null;
  };
  readonly stable: ShownSaid;
  readonly candidate: ShownSaid;
};

/** Some lines: the request, what differs, and what each version said. */
export function differenceText(difference: ShownDifference): string {
  const { request, differs, phase, stable, candidate } = difference;
  const { method, host, path, query, client_ip: address, consumer } = request;
  const target = `${host}${path}${query === "" ? "" : `?${query}`}`;
  const who = consumer === null ? address : `${address} ${consumer}`;
  const at = new Date(difference.at_ms).toISOString();
  return [
    `${at} ${method} ${target} from ${who} (${difference.route}, ${phase}, ${difference.request_id})`,
    `  differs    ${differs.join(", ")}`,
    `  stable     ${saidText(stable)}`,
    `  candidate  ${saidText(candidate)}`,
  ]
    .map(plain)
    .join("\n");
}

function saidText(said: ShownSaid): string {
  const parts = [said.status === null ? said.action : `${said.action} ${said.status}`];
  if (said.reason !== "") parts.push(`"${said.reason}"`);
  if (said.path !== null) parts.push(`path ${said.path}`);
  parts.push(...editsText("request", said.request_headers));
  parts.push(...editsText("response", said.response_headers));
  parts.push(...editsText("value", said.values));
  return parts.join("; ");
}

function editsText(what: string, edits: Readonly<Record<string, string | null>>): string[] {
  return Object.entries(edits).map(([name, value]) =>
    value === null ? `${what} -${name}` : `${what} ${name}: ${value}`,
  );
}
