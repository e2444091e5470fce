// The rules of one route: one action, a match that can be met, edits that the connection allows,
// plugins that exist.

import { checkHostPattern, checkPath, checkPattern } from "../routing/pattern.ts";
import { normalizeTarget } from "../routing/normalize.ts";
import { checkBuiltinRules } from "./check-builtin.ts";
import type { CheckContext } from "./context.ts";
import { FaultList, pointer, show } from "./fault-list.ts";
import { nearest } from "./nearest.ts";
import { checkPluginConfig, compilePluginSchema } from "./plugin-schema.ts";
import type { KnownPlugin, PluginSchema } from "./plugin-schema.ts";
import { checkSchema } from "./schema-faults.ts";
import type { Compiled } from "./schema-faults.ts";
import type { AttachmentConfig, RouteConfig } from "./schema.ts";
import { isGiven, takeOutFaults } from "./sound.ts";
import type { Sound } from "./sound.ts";
import {
  VERSION_WORDS,
  isExact,
  isVersionOrRange,
  rangeKey,
  resolveVersion,
  unresolved,
} from "./version-range.ts";

/** What routes may refer to; null: not known, not checked. */
export type KnownNames = {
  readonly upstreams: ReadonlySet<string> | null;
  readonly plugins: CheckContext["plugins"];
};

type World = {
  readonly context: CheckContext;
  readonly names: KnownNames;
  /** Schemas of uploaded plugins that were met already. */
  readonly schemas: Map<PluginSchema, Compiled>;
  /** What versions of uploaded plugins came to, by `plugin@version`. */
  readonly resolved: Map<string, string | null>;
  readonly builtins: ReadonlyMap<string, Compiled>;
  readonly faults: FaultList;
};

const ACTIONS = ["upstream", "redirect", "respond", "echo"] as const;
const SHOWN_NAMES_MAX = 20;

/** Fields that only the connection writes (RFC 9110, 7.6.1; RFC 9112, 6). */
const FRAMING: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "host",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** Adds what is wrong with a route. */
export function checkRoute(route: Sound<RouteConfig>, path: string, world: World): void {
  const { faults } = world;
  checkAction(route, path, world);
  checkMatch(route.match, `${path}/match`, faults);
  route.plugins?.forEach((attachment, i) => {
    if (attachment !== undefined) checkAttachment(attachment, `${path}/plugins/${i}`, world);
  });
  checkRewrite(route, path, faults);
  for (const part of ["request_headers", "response_headers"] as const) {
    checkEdits(route[part], `${path}/${part}`, faults);
  }
  const headers = Object.keys(route.respond?.headers ?? {});
  checkHeaderNames(headers, `${path}/respond/headers`, faults);
  checkAnswers(route, path, faults);
}

function checkAction(route: Sound<RouteConfig>, path: string, world: World): void {
  const { faults, names } = world;
  const given = ACTIONS.filter((action) => isGiven(route, action) && route[action] !== false);
  if (route.echo === false) {
    faults.outOfRange(`${path}/echo`, false, "true; leave the key out for another action");
  } else if (given.length !== 1) {
    const found = given.join(" and ") || "none";
    faults.add({
      code: given.length === 0 ? "missing_key" : "conflict",
      message: `a route needs exactly one action, found ${found}`,
      path,
      found,
      allowed: `one of ${ACTIONS.join(", ")}`,
      at: "value",
    });
  }
  const { upstream } = route;
  if (upstream !== undefined && names.upstreams?.has(upstream) === false) {
    addUnknown(`${path}/upstream`, upstream, { kind: "upstream", known: names.upstreams, faults });
  }
  if (given.length === 0 || given.includes("upstream")) return;
  for (const key of ["retries", ...(given.includes("echo") ? [] : ["rewrite"])]) {
    if (!isGiven(route, key)) continue;
    faults.conflict(`${path}/${key}`, `${key} does nothing with the action ${given[0]}`);
  }
}

function checkMatch(
  match: Sound<NonNullable<RouteConfig["match"]>> | undefined,
  path: string,
  faults: FaultList,
): void {
  match?.hosts?.forEach((host, i) => {
    const why = host === undefined ? null : checkHostPattern(host);
    if (why !== null) addUnfit(`${path}/hosts/${i}`, String(host), why, faults);
  });
  match?.paths?.forEach((entry, i) => {
    for (const [kind, value] of Object.entries(entry ?? {}) as [string, string | undefined][]) {
      if (value === undefined) continue;
      const why = kind === "pattern" ? checkPattern(value) : checkPath(value);
      if (why !== null) addUnfit(`${path}/paths/${i}/${kind}`, value, why, faults);
    }
  });
  for (const part of ["headers", "query"] as const) {
    match?.[part]?.forEach((test, i) => {
      if (test?.present !== false || !(isGiven(test, "exact") || isGiven(test, "prefix"))) return;
      const why = "present: false contradicts a value to compare with";
      faults.conflict(`${path}/${part}/${i}/present`, why);
    });
  }
}

function addUnfit(path: string, value: string, why: string, faults: FaultList): void {
  // The rule names the normal form where there is one: that is the nearest right value.
  const suggestion = /write "([^"]+)"$|must be written "([^"]+)"$/.exec(why);
  const found = show(value);
  const right = suggestion?.[1] ?? suggestion?.[2];
  faults.add({
    code: "out_of_range",
    message: `${found} ${why}`,
    path,
    found,
    ...(right === undefined ? {} : { suggestion: right }),
    at: "value",
  });
}

function checkRewrite(route: Sound<RouteConfig>, path: string, faults: FaultList): void {
  const { rewrite } = route;
  if (rewrite === undefined) return;
  const isAlone = !isGiven(rewrite, "strip_prefix") && !isGiven(rewrite, "add_prefix");
  if (isGiven(rewrite, "path") && !isAlone) {
    const why = "path replaces the whole path: strip_prefix and add_prefix would do nothing";
    faults.conflict(`${path}/rewrite/path`, why);
  }
  for (const [key, value] of Object.entries(rewrite)) {
    if (value === undefined) continue;
    const normal = normalizeTarget(value);
    if (normal !== null && !value.includes("?") && normal.path === value) continue;
    faults.outOfRange(`${path}/rewrite/${key}`, value, "a path in normal form, without a query");
  }
}

function checkEdits(
  edits: Sound<NonNullable<RouteConfig["request_headers"]>> | undefined,
  path: string,
  faults: FaultList,
): void {
  const set = Object.keys(edits?.set ?? {});
  checkHeaderNames(set, `${path}/set`, faults);
  const isSet = new Set(set.map((name) => name.toLowerCase()));
  edits?.remove?.forEach((name, i) => {
    if (name === undefined) return;
    const place = `${path}/remove/${i}`;
    if (FRAMING.has(name.toLowerCase())) {
      faults.add({ ...framing(place, name), at: "value" });
    } else if (isSet.has(name.toLowerCase())) {
      faults.add({ ...contradiction(place, `${name} is both set and removed`), at: "value" });
    }
  });
}

function checkHeaderNames(names: readonly string[], path: string, faults: FaultList): void {
  const seen = new Set<string>();
  for (const name of names) {
    const lower = name.toLowerCase();
    if (FRAMING.has(lower)) faults.add({ ...framing(pointer(path, name), name), at: "key" });
    else if (seen.has(lower)) {
      const why = `${name} is given twice: upper and lower case are one in a header's name`;
      faults.add({ ...contradiction(pointer(path, name), why), at: "key" });
    }
    seen.add(lower);
  }
}

function framing(path: string, name: string) {
  return contradiction(path, `${name} belongs to the connection and cannot be edited`);
}

function contradiction(path: string, message: string) {
  return { code: "conflict", message, path };
}

// Answers that the gateway makes itself.
function checkAnswers(route: Sound<RouteConfig>, path: string, faults: FaultList): void {
  const { redirect, respond } = route;
  const to = redirect?.to;
  if (to !== undefined) {
    const filled = to.replaceAll("{path}", "/").replaceAll("{query}", "");
    const isTarget = /^(https?:\/\/[^/?#]|\/|\{path\})/i.test(to);
    // What it becomes is a field's value: nothing but visible ASCII can stand in it.
    if (!isTarget || !/^[\x21-\x7e]+$/.test(to) || /[{}<>"\\^`|]/.test(filled)) {
      const allowed = "a URL or a path in ASCII; {path} and {query} are filled in";
      faults.outOfRange(`${path}/redirect/to`, to, allowed);
    }
  }
  const status = respond?.status;
  const hasBody = respond?.body !== undefined && respond.body !== "";
  if (hasBody && (status === 204 || status === 304)) {
    faults.conflict(`${path}/respond/body`, `an answer with status ${status} has no body`);
  }
}

function checkAttachment(attachment: Sound<AttachmentConfig>, path: string, world: World): void {
  const { names, builtins, faults } = world;
  const { plugin, version } = attachment;
  if (plugin === undefined) return;
  const builtin = builtins.get(plugin);
  if (builtin !== undefined) {
    for (const key of ["version", "isolation", "limits", "grants", "fail_mode"]) {
      if (!isGiven(attachment, key)) continue;
      const why = `${plugin} is built in: ${key} is for uploaded plugins`;
      faults.conflict(`${path}/${key}`, why);
    }
    if (attachment.config === undefined && isGiven(attachment, "config")) return;
    const config = attachment.config ?? {};
    const own = new FaultList();
    checkSchema(builtin, config, { path: "", faults: own });
    checkBuiltinRules(plugin, takeOutFaults(config, own.faults), { path: "", faults: own });
    for (const fault of own.faults) faults.add({ ...fault, path: `${path}/config${fault.path}` });
    return;
  }
  checkThreads(attachment, path, faults);
  const isSound = version === undefined || isVersionOrRange(version);
  if (!isSound) faults.outOfRange(`${path}/version`, version, VERSION_WORDS);
  if (names.plugins === null) return;
  const found = names.plugins.get(plugin);
  if (found === undefined) {
    const known = [...builtins.keys(), ...names.plugins.keys()];
    addUnknown(`${path}/plugin`, plugin, { kind: "plugin", known, faults });
    return;
  }
  if (!isSound) return;
  const resolved =
    version === undefined ? found.current : resolveOnce({ plugin, version, known: found }, world);
  const schema = resolved === null ? undefined : found.versions.get(resolved);
  if (version !== undefined && schema === undefined) {
    addUnresolved({ plugin, version, known: found, path: `${path}/version` }, faults);
  }
  // Of a version or a configuration that was wrong already nothing more is known.
  const isKnown = (key: "version" | "config") =>
    attachment[key] !== undefined || !isGiven(attachment, key);
  if (schema === undefined || schema === null || !isKnown("version") || !isKnown("config")) return;
  checkPluginConfig(schemaOf(schema, world), attachment.config ?? {}, {
    ...{ path: `${path}/config`, source: world.context, faults },
  });
}

type Wanted = { readonly plugin: string; readonly version: string; readonly known: KnownPlugin };

function resolveOnce({ plugin, version, known }: Wanted, { resolved }: World): string | null {
  const key = rangeKey(plugin, version);
  let found = resolved.get(key);
  if (found === undefined) resolved.set(key, (found = resolveVersion(plugin, version, known)));
  return found;
}

function addUnresolved(wanted: Wanted & { readonly path: string }, faults: FaultList): void {
  const { plugin, version, known, path } = wanted;
  if (!isExact(version)) faults.add({ ...unresolved(wanted), at: "value" });
  else {
    const kind = `version of ${plugin}`;
    addUnknown(path, version, { kind, known: known.versions.keys(), faults });
  }
}

function schemaOf(schema: PluginSchema, { schemas }: World): Compiled {
  let compiled = schemas.get(schema);
  if (compiled === undefined) schemas.set(schema, (compiled = compilePluginSchema(schema)));
  return compiled;
}

// Threads have bounds and ends of their own, and what answers later is not served in them.
function checkThreads(
  { isolation, limits, grants }: Sound<AttachmentConfig>,
  path: string,
  faults: FaultList,
): void {
  if (isolation !== "thread") {
    if (limits?.threads === undefined) return;
    faults.conflict(`${path}/limits/threads`, "threads does nothing without isolation: thread");
    return;
  }
  for (const key of ["kv", "http"] as const) {
    if (grants?.[key] === undefined || grants[key] === false) continue;
    faults.conflict(`${path}/grants/${key}`, `isolation: thread does not serve ${key}`);
  }
}

function addUnknown(
  path: string,
  name: string,
  { kind, known, faults }: { kind: string; known: Iterable<string>; faults: FaultList },
): void {
  const names = [...known];
  const listed = names.slice(0, SHOWN_NAMES_MAX).join(", ");
  const rest = names.length - SHOWN_NAMES_MAX;
  // Comparing every unknown name with every known one is bounded by looking for the first ones only.
  const suggestion = faults.size < 100 ? nearest(name, names) : undefined;
  faults.add({
    code: "unknown_reference",
    message: `there is no ${kind} ${show(name)}`,
    path,
    found: name,
    allowed:
      names.length === 0 ? "none is known" : rest > 0 ? `${listed} and ${rest} more` : listed,
    ...(suggestion === undefined ? {} : { suggestion }),
    at: "value",
  });
}
