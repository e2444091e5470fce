// What a route may be configured with: path patterns like `/users/{id}/files/{rest...}`, exact and
// prefix paths, host patterns. Every fault is a sentence for the operator. A configured text that
// is not in the normal form of normalize.ts could never match, so it is a fault and never mended.

import { normalizeHost, normalizeTarget } from "./normalize.ts";

/** Segments of a configured path; bounds the work per request, see tree.ts. */
export const SEGMENTS_MAX = 128;
const NAME_LENGTH_MAX = 64;

/** A parsed pattern. `/users/{id}/files/{rest...}`: segments users, null, files; names id, rest. */
export type Pattern = {
  /** The text of a literal segment, or null for a parameter; `{rest...}` is not among them. */
  readonly segments: readonly (string | null)[];
  /** Of the parameters, in order of the path; the rest comes last. */
  readonly names: readonly string[];
  readonly hasRest: boolean;
};

/**
 * Parses a pattern. A parameter takes one whole segment that is not empty; `{name...}` is last and
 * takes what follows its slash, which may be nothing. Returns the fault as text when there is one.
 */
export function parsePattern(text: string): Pattern | string {
  if (!text.startsWith("/")) return `must begin with "/"`;
  const parts = text.slice(1).split("/");
  if (parts.length > SEGMENTS_MAX) return `has more than ${SEGMENTS_MAX} segments`;
  const segments: (string | null)[] = [];
  const names: string[] = [];
  let hasRest = false;
  for (const [index, part] of parts.entries()) {
    const isParameter = part.startsWith("{") && part.endsWith("}");
    if (!isParameter) {
      if (part.includes("{") || part.includes("}")) return `"${part}": ${WHOLE_SEGMENT}`;
      segments.push(part);
      continue;
    }
    hasRest = part.endsWith("...}");
    if (hasRest && index !== parts.length - 1) return `"${part}" must be the last segment`;
    const name = part.slice(1, hasRest ? -4 : -1);
    if (!isParameterName(name)) return `"${part}": ${NAME_RULE}`;
    if (names.includes(name)) return `names the parameter "${name}" twice`;
    names.push(name);
    if (!hasRest) segments.push(null);
  }
  const literal = `/${parts.map((part) => (part.startsWith("{") ? "x" : part)).join("/")}`;
  return normalFormFault(literal) ?? { segments, names, hasRest };
}

const WHOLE_SEGMENT = "a parameter fills a whole segment, as in /users/{id}";
const NAME_RULE = "a parameter's name is a letter and then letters, digits, _ or -, at most 64";

/** The fault of a path pattern, as the end of a sentence; null when it is valid. */
export function checkPattern(text: string): string | null {
  const parsed = parsePattern(text);
  return typeof parsed === "string" ? parsed : null;
}

/** The fault of an exact or prefix path; null when it is in normal form and can match. */
export function checkPath(text: string): string | null {
  if (!text.startsWith("/")) return `must begin with "/"`;
  if (countSegments(text) > SEGMENTS_MAX) return `has more than ${SEGMENTS_MAX} segments`;
  return normalFormFault(text);
}

/** The fault of a route's host: a name, an IPv6 address in brackets or `*.` and a name; or null. */
export function checkHostPattern(text: string): string | null {
  if (text === "*") return "leave hosts out to match any host";
  const name = text.startsWith("*.") ? text.slice(2) : text;
  if (name.includes("*")) return `"*" may only stand for the first labels, as in *.example.org`;
  const normal = normalizeHost(name);
  if (normal === null) return "is not a host name";
  if (normal !== name) return `must be written "${text.slice(0, -name.length)}${normal}"`;
  if (name === text) return null;
  const lastLabel = name.slice(name.lastIndexOf(".") + 1);
  const isAddress = name.startsWith("[") || /^\d+$/.test(lastLabel);
  return isAddress ? "a wildcard needs a name, not an address" : null;
}

/** Segments between slashes: `/` has one, which is empty. */
function countSegments(path: string): number {
  return path.split("/").length - 1;
}

function normalFormFault(path: string): string | null {
  if (path.includes("?")) return `must not hold "?"; query parameters are matched by "query"`;
  const normal = normalizeTarget(path);
  if (normal === null) return "is not a path that a request may have";
  return normal.path === path ? null : `is not in normal form; write "${normal.path}"`;
}

function isParameterName(name: string): boolean {
  return name.length <= NAME_LENGTH_MAX && /^[A-Za-z_][A-Za-z0-9_-]*$/.test(name);
}
