// What a route asks besides host and path: method, headers, query parameters. Compiled once, tested
// on every request without allocation. Query names and values are compared after percent-decoding,
// byte by byte and without decoding anything into a string; `+` is a plus. The first occurrence of a
// parameter counts, as it does for the header.

/** One test of a header or a query parameter; every given part must hold, none means `present`. */
export type ValueInput = {
  readonly name: string;
  readonly exact?: string;
  readonly prefix?: string;
  /** False: the value must be absent. */
  readonly present?: boolean;
};

/** A compiled header test. */
export type HeaderTest = {
  readonly name: string;
  readonly exact: string | null;
  readonly prefix: string | null;
  readonly absent: boolean;
};

/** A compiled query test; texts are UTF-8. */
export type QueryTest = {
  readonly name: Uint8Array;
  readonly exact: Uint8Array | null;
  readonly prefix: Uint8Array | null;
  readonly absent: boolean;
};

/** The parts of a route that are tested after its place was found; null: nothing asked. */
export type Conditions = {
  readonly methods: readonly string[] | null;
  readonly headers: readonly HeaderTest[] | null;
  readonly query: readonly QueryTest[] | null;
};

/** The parts of a request that the conditions look at. */
export type ConditionRequest = {
  readonly method: string;
  readonly query: string;
  header(nameLower: string): string | null;
};

/** What a request lacks, or null. The index counts in the route's own list of tests. */
export type Missed =
  | { readonly part: "method" }
  | { readonly part: "header" | "query"; readonly index: number };

/** Compiles a header test; the name is compared in lower case. */
export function buildHeaderTest(input: ValueInput): HeaderTest {
  return {
    name: input.name.toLowerCase(),
    exact: input.exact ?? null,
    prefix: input.prefix ?? null,
    absent: input.present === false,
  };
}

/** Compiles a query test; texts are the decoded ones. */
export function buildQueryTest(input: ValueInput): QueryTest {
  const encoder = new TextEncoder();
  return {
    name: encoder.encode(input.name),
    exact: input.exact === undefined ? null : encoder.encode(input.exact),
    prefix: input.prefix === undefined ? null : encoder.encode(input.prefix),
    absent: input.present === false,
  };
}

/** True when the request meets every condition. */
export function meetsAll(conditions: Conditions, request: ConditionRequest): boolean {
  return (
    (conditions.methods === null || conditions.methods.includes(request.method)) &&
    (conditions.headers === null || missedHeader(conditions.headers, request) === -1) &&
    (conditions.query === null || missedQuery(conditions.query, request.query) === -1)
  );
}

/** The first condition that the request does not meet; null exactly when `meetsAll` is true. */
export function firstMissed(conditions: Conditions, request: ConditionRequest): Missed | null {
  const { methods } = conditions;
  if (methods !== null && !methods.includes(request.method)) return { part: "method" };
  return firstMissedValue(conditions, request);
}

/** As `firstMissed`, whatever the method. */
export function firstMissedValue(conditions: Conditions, request: ConditionRequest): Missed | null {
  const header = conditions.headers === null ? -1 : missedHeader(conditions.headers, request);
  if (header !== -1) return { part: "header", index: header };
  const query = conditions.query === null ? -1 : missedQuery(conditions.query, request.query);
  return query === -1 ? null : { part: "query", index: query };
}

function missedHeader(tests: readonly HeaderTest[], request: ConditionRequest): number {
  for (let i = 0; i < tests.length; i++) {
    const test = tests[i];
    const value = request.header(test.name);
    if (test.absent !== (value === null)) return i;
    if (test.exact !== null && value !== test.exact) return i;
    if (test.prefix !== null && (value === null || !value.startsWith(test.prefix))) return i;
  }
  return -1;
}

function missedQuery(tests: readonly QueryTest[], query: string): number {
  for (let i = 0; i < tests.length; i++) {
    const test = tests[i];
    const start = findValue(query, test.name);
    if (test.absent !== (start === -1)) return i;
    if (test.exact !== null && !isDecoded(query, start, test.exact, ENDS_AT_VALUE)) return i;
    if (test.prefix !== null && !isDecoded(query, start, test.prefix, ENDS_ANYWHERE)) return i;
  }
  return -1;
}

const AMPERSAND = 0x26;
const EQUALS = 0x3d;
const PERCENT = 0x25;

/** What must follow the expected bytes: the end of a name, the end of a value, or anything. */
type Ending = 0 | 1 | 2;
const ENDS_AT_NAME = 0;
const ENDS_AT_VALUE = 1;
const ENDS_ANYWHERE = 2;

/**
 * Where the value of the first parameter of this name begins, or -1. A parameter without `=` has an
 * empty value, whose start is the separator after it.
 */
function findValue(query: string, name: Uint8Array): number {
  let start = 0;
  while (start < query.length) {
    let end = query.indexOf("&", start);
    if (end === -1) end = query.length;
    if (end > start && isDecoded(query, start, name, ENDS_AT_NAME)) {
      const equals = query.indexOf("=", start);
      return equals === -1 || equals > end ? end : equals + 1;
    }
    start = end + 1;
  }
  return -1;
}

/** True when the text at `start` decodes to the expected bytes and then ends as asked. */
function isDecoded(query: string, start: number, expected: Uint8Array, ending: Ending): boolean {
  if (start === -1) return false;
  let at = start;
  for (let i = 0; i < expected.length; i++) {
    let code = at < query.length ? query.charCodeAt(at) : AMPERSAND;
    if (code === AMPERSAND || (code === EQUALS && ending === ENDS_AT_NAME)) return false;
    at++;
    if (code === PERCENT) {
      const byte = at + 1 < query.length ? hexPair(query, at) : -1;
      if (byte >= 0) {
        code = byte;
        at += 2;
      }
    }
    if (code !== expected[i]) return false;
  }
  if (ending === ENDS_ANYWHERE || at === query.length) return true;
  const next = query.charCodeAt(at);
  return next === AMPERSAND || (next === EQUALS && ending === ENDS_AT_NAME);
}

function hexPair(text: string, at: number): number {
  const high = hexDigit(text.charCodeAt(at));
  const low = hexDigit(text.charCodeAt(at + 1));
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  const lower = code | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}
