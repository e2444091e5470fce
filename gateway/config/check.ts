// What a schema cannot say of a configuration: names that must exist or be unique, fields that go
// together, addresses, patterns, files. Every fault is reported, none twice. Pure but for reading
// the files that the configuration names.

import { X509Certificate, createPrivateKey } from "node:crypto";
import net from "node:net";
import { resolve } from "node:path";
import { checkHostPattern, checkPath, checkPattern } from "../routing/pattern.ts";
import { normalizeTarget } from "../routing/normalize.ts";
import { BUILTIN_SCHEMAS } from "./builtin-schemas.ts";
import { nearest } from "./nearest.ts";
import { pointer, schemaFaults, show } from "./schema-faults.ts";
import type { PlacedFault } from "./schema-faults.ts";
import type {
  AttachmentConfig,
  Config,
  ListenerConfig,
  RouteConfig,
  UpstreamConfig,
} from "./schema.ts";

/** What the checks need of the world. */
export type CheckContext = {
  /** Uploaded plugins and their versions; null: not known, references are not checked. */
  readonly plugins: ReadonlyMap<string, ReadonlySet<string>> | null;
  /** Text of a file; throws when it cannot be read. */
  readFile(path: string): string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Folder that relative paths start from. */
  readonly baseDir: string;
};

/** Fields that only the connection writes. */
const FRAMING: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "host",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** Every fault of a configuration that already fits its schema. */
export function crossFaults(config: Config, context: CheckContext): PlacedFault[] {
  const faults: PlacedFault[] = [];
  const { listeners = [], upstreams = [], routes = [], consumers = [] } = config;
  for (const [key, list] of Object.entries({ listeners, upstreams, routes, consumers })) {
    checkUnique(list, `/${key}`, faults);
  }
  if (config.admin?.listen !== undefined) {
    checkAddress(config.admin.listen, "/admin/listen", true, faults);
  }
  const addresses = new Map<string, string>();
  listeners.forEach((listener, i) => {
    checkListener(listener, `/listeners/${i}`, { addresses, context }, faults);
  });
  upstreams.forEach((upstream, i) => checkUpstream(upstream, `/upstreams/${i}`, context, faults));
  const names: Names = {
    upstreams: new Set(upstreams.map(({ name }) => name)),
    plugins: context.plugins,
  };
  routes.forEach((route, i) => checkRoute(route, `/routes/${i}`, names, faults));
  (config.trusted_proxies ?? []).forEach((entry, i) => {
    if (!isCidr(entry)) {
      faults.push(bad(`/trusted_proxies/${i}`, entry, "an IP address or a range like 10.0.0.0/8"));
    }
  });
  checkCredentials(config, faults);
  return faults;
}

type Names = {
  readonly upstreams: ReadonlySet<string>;
  readonly plugins: CheckContext["plugins"];
};

function checkUnique(
  list: readonly { readonly name: string }[],
  path: string,
  faults: PlacedFault[],
): void {
  const seen = new Map<string, number>();
  list.forEach(({ name }, i) => {
    const first = seen.get(name);
    if (first === undefined) seen.set(name, i);
    else faults.push(duplicate(`${path}/${i}/name`, name, `${path}/${first}`));
  });
}

function checkListener(
  listener: ListenerConfig,
  path: string,
  world: { addresses: Map<string, string>; context: CheckContext },
  faults: PlacedFault[],
): void {
  checkAddress(listener.address, `${path}/address`, true, faults);
  const other = world.addresses.get(listener.address);
  if (other !== undefined) faults.push(duplicate(`${path}/address`, listener.address, other));
  world.addresses.set(listener.address, path);
  const { tls } = listener;
  if (tls === undefined) return;
  const certificates = tls.certificates ?? [];
  if (certificates.length === 0 && tls.self_signed !== true) {
    faults.push({
      code: "missing_key",
      message: "TLS needs a certificate",
      path: `${path}/tls`,
      found: "none",
      allowed: "certificates: [{ cert_file, key_file }], or self_signed: true",
      at: "value",
    });
  }
  certificates.forEach((files, i) => {
    checkCertificate(files, `${path}/tls/certificates/${i}`, world.context, faults);
  });
}

function checkCertificate(
  files: { readonly cert_file: string; readonly key_file: string },
  path: string,
  context: CheckContext,
  faults: PlacedFault[],
): void {
  const cert = readNamed(files.cert_file, `${path}/cert_file`, context, faults);
  const key = readNamed(files.key_file, `${path}/key_file`, context, faults);
  if (cert === null || key === null) return;
  const certificate = attempt(() => new X509Certificate(cert));
  const privateKey = attempt(() => createPrivateKey(key));
  if (certificate === null) {
    faults.push(bad(`${path}/cert_file`, files.cert_file, "a file with a PEM certificate"));
  }
  if (privateKey === null) {
    faults.push(bad(`${path}/key_file`, files.key_file, "a file with a PEM private key"));
  }
  if (certificate === null || privateKey === null) return;
  if (!certificate.checkPrivateKey(privateKey)) {
    faults.push({
      code: "conflict",
      message: "the key does not belong to the certificate",
      path: `${path}/key_file`,
      found: files.key_file,
      allowed: `the key of ${files.cert_file}`,
      at: "value",
    });
  }
}

function checkUpstream(
  upstream: UpstreamConfig,
  path: string,
  context: CheckContext,
  faults: PlacedFault[],
): void {
  upstream.targets.forEach(({ address }, i) => {
    checkAddress(address, `${path}/targets/${i}/address`, false, faults);
  });
  const { hash, algorithm } = upstream;
  if (algorithm === "consistent-hash" && hash === undefined) {
    faults.push({
      code: "missing_key",
      message: "consistent-hash needs to know what to hash",
      path,
      allowed: "hash: { by: header | cookie | ip | path, name }",
      at: "value",
    });
  }
  if (hash !== undefined && algorithm !== "consistent-hash") {
    faults.push(conflict(`${path}/hash`, "hash only belongs to algorithm: consistent-hash"));
  }
  const needsName = hash?.by === "header" || hash?.by === "cookie";
  if (needsName && hash?.name === undefined) {
    faults.push({
      code: "missing_key",
      message: `hashing by ${hash?.by} needs its name`,
      path: `${path}/hash`,
      allowed: "name",
      at: "value",
    });
  } else if (!needsName && hash?.name !== undefined) {
    faults.push(conflict(`${path}/hash/name`, `hashing by ${hash.by} takes no name`));
  }
  const { tls } = upstream;
  if (tls?.ca_file !== undefined) readNamed(tls.ca_file, `${path}/tls/ca_file`, context, faults);
}

const ACTIONS = ["upstream", "redirect", "respond", "echo"] as const;

function checkRoute(route: RouteConfig, path: string, names: Names, faults: PlacedFault[]): void {
  checkAction(route, path, names, faults);
  checkMatch(route, path, faults);
  (route.plugins ?? []).forEach((attachment, i) => {
    checkAttachment(attachment, `${path}/plugins/${i}`, names, faults);
  });
  const { rewrite } = route;
  if (rewrite !== undefined) {
    if (rewrite.path !== undefined && (rewrite.strip_prefix ?? rewrite.add_prefix) !== undefined) {
      const why = "path replaces the whole path; strip_prefix and add_prefix would do nothing";
      faults.push(conflict(`${path}/rewrite/path`, why));
    }
    for (const [key, value] of Object.entries(rewrite)) {
      const normal = normalizeTarget(value);
      if (normal === null || normal.query !== "" || normal.path !== value) {
        faults.push(bad(`${path}/rewrite/${key}`, value, "a path in normal form, without a query"));
      }
    }
  }
  for (const part of ["request_headers", "response_headers"] as const) {
    checkHeaderNames(Object.keys(route[part]?.set ?? {}), `${path}/${part}/set`, "key", faults);
    (route[part]?.remove ?? []).forEach((name, i) => {
      checkHeaderName(name, `${path}/${part}/remove/${i}`, "value", faults);
    });
  }
  const headers = Object.keys(route.respond?.headers ?? {});
  checkHeaderNames(headers, `${path}/respond/headers`, "key", faults);
}

function checkAction(route: RouteConfig, path: string, names: Names, faults: PlacedFault[]): void {
  const given = ACTIONS.filter((action) => route[action] !== undefined);
  if (given.length !== 1) {
    const found = given.length === 0 ? "none" : given.join(" and ");
    faults.push({
      code: given.length === 0 ? "missing_key" : "conflict",
      message: `a route needs exactly one action, found ${found}`,
      path,
      found,
      allowed: `one of ${ACTIONS.join(", ")}`,
      at: "value",
    });
  }
  if (route.echo === false) {
    faults.push(bad(`${path}/echo`, false, "true (leave the key out for another action)"));
  }
  if (route.upstream !== undefined && !names.upstreams.has(route.upstream)) {
    faults.push(
      unknownName(`${path}/upstream`, route.upstream, { kind: "upstream", known: names.upstreams }),
    );
  }
  if (route.retries !== undefined && route.upstream === undefined) {
    faults.push(conflict(`${path}/retries`, "retries only belong to a route with an upstream"));
  }
}

function checkMatch(route: RouteConfig, path: string, faults: PlacedFault[]): void {
  const { hosts = [], paths = [], headers = [], query = [] } = route.match ?? {};
  hosts.forEach((host, i) => {
    const why = checkHostPattern(host);
    if (why !== null) faults.push(bad(`${path}/match/hosts/${i}`, host, why));
  });
  paths.forEach((entry, i) => {
    const [kind, value] = Object.entries(entry)[0];
    const why = kind === "pattern" ? checkPattern(value) : checkPath(value);
    if (why !== null) faults.push(bad(`${path}/match/paths/${i}/${kind}`, value, why));
  });
  for (const [part, tests] of Object.entries({ headers, query })) {
    tests.forEach((test, i) => {
      if (test.present === false && (test.exact ?? test.prefix) !== undefined) {
        const why = "present: false contradicts a value to compare with";
        faults.push(conflict(`${path}/match/${part}/${i}/present`, why));
      }
    });
  }
}

function checkAttachment(
  attachment: AttachmentConfig,
  path: string,
  names: Names,
  faults: PlacedFault[],
): void {
  const { plugin, version, config } = attachment;
  const schema = BUILTIN_SCHEMAS.get(plugin);
  if (schema !== undefined) {
    for (const key of ["version", "isolation", "limits", "fail_mode"] as const) {
      if (attachment[key] === undefined) continue;
      faults.push(conflict(`${path}/${key}`, `${plugin} is built in; ${key} is for uploaded plugins`));
    }
    const own = schemaFaults(schema, config ?? {}, `${path}/config`);
    faults.push(...own);
    if (own.length === 0) checkBuiltin(plugin, config ?? {}, `${path}/config`, faults);
    return;
  }
  if (names.plugins === null) return;
  const versions = names.plugins.get(plugin);
  if (versions === undefined) {
    const known = [...names.plugins.keys(), ...BUILTIN_SCHEMAS.keys()];
    faults.push(unknownName(`${path}/plugin`, plugin, { kind: "plugin", known }));
  } else if (version !== undefined && !versions.has(version)) {
    const kind = `version of ${plugin}`;
    faults.push(unknownName(`${path}/version`, version, { kind, known: versions }));
  }
}

function checkBuiltin(
  plugin: string,
  config: Readonly<Record<string, unknown>>,
  path: string,
  faults: PlacedFault[],
): void {
  const has = (key: string) => config[key] !== undefined;
  if (plugin === "jwt") {
    if (has("jwks_uri") === has("keys")) {
      const found = has("keys") ? "both" : "neither";
      faults.push(oneOf(path, "jwks_uri or keys", found));
    }
    if (has("header") && has("cookie")) faults.push(oneOf(path, "header or cookie", "both"));
    const keys = (config["keys"] ?? []) as readonly Readonly<Record<string, unknown>>[];
    keys.forEach((key, i) => {
      const sources = ["secret", "public_key", "jwk"].filter((name) => key[name] !== undefined);
      if (sources.length === 1) return;
      const found = sources.join(" and ") || "none";
      faults.push(oneOf(`${path}/keys/${i}`, "secret, public_key or jwk", found));
    });
  } else if (plugin === "rate-limit") {
    if ((config["by"] === "header") !== has("header")) {
      faults.push(conflict(path, "by: header and the header's name belong together"));
    }
  } else if (plugin === "cors") {
    const origins = config["origins"] as readonly string[];
    if (origins.includes("*") && config["credentials"] === true) {
      const why = "any origin with credentials would let every site act as the user";
      faults.push(conflict(`${path}/credentials`, why));
    }
    origins.forEach((origin, i) => {
      if (origin === "*" || origin === "null" || isOrigin(origin)) return;
      faults.push(bad(`${path}/origins/${i}`, origin, "* or an origin like https://example.com"));
    });
  }
}

function checkCredentials(config: Config, faults: PlacedFault[]): void {
  const owners = new Map<string, string>();
  (config.consumers ?? []).forEach((consumer, i) => {
    consumer.credentials.forEach(({ hash }, j) => {
      const path = `/consumers/${i}/credentials/${j}`;
      const other = owners.get(hash);
      // The hash is a secret of a kind: only its place is shown.
      if (other !== undefined) faults.push(duplicate(`${path}/hash`, "this hash", other));
      owners.set(hash, path);
    });
  });
}

function checkHeaderNames(
  names: readonly string[],
  path: string,
  at: "key" | "value",
  faults: PlacedFault[],
): void {
  for (const name of names) checkHeaderName(name, pointer(path, name), at, faults);
}

function checkHeaderName(
  name: string,
  path: string,
  at: "key" | "value",
  faults: PlacedFault[],
): void {
  if (!FRAMING.has(name.toLowerCase())) return;
  faults.push({ ...conflict(path, `${name} belongs to the connection and cannot be edited`), at });
}

function checkAddress(
  address: string,
  path: string,
  listens: boolean,
  faults: PlacedFault[],
): void {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s/]+)):(\d{1,5})$/.exec(address);
  const [, v6, host, digits] = match ?? [];
  const port = Number(digits);
  const isHost =
    v6 !== undefined ? net.isIPv6(v6) : host !== undefined && isHostName(host, listens);
  if (match === null || !isHost || port > 65_535 || (port === 0 && !listens)) {
    const allowed = listens
      ? "an IP address and a port, like 127.0.0.1:8080 or [::]:8080"
      : "a host and a port, like 10.0.0.1:9001 or orders.internal:9001";
    faults.push(bad(path, address, allowed));
  }
}

function isHostName(host: string, listens: boolean): boolean {
  if (net.isIPv4(host)) return true;
  // Digits and dots that are no address are a typo, not a name.
  if (listens || /^[\d.]+$/.test(host)) return false;
  return /^(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?$/.test(host) && host.length <= 253;
}

function isCidr(entry: string): boolean {
  const [address, bits, more] = entry.split("/");
  const family = net.isIP(address);
  if (family === 0 || more !== undefined) return false;
  if (bits === undefined) return true;
  return /^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128);
}

function isOrigin(text: string): boolean {
  const url = attempt(() => new URL(text));
  return url !== null && url.origin === text;
}

function readNamed(
  file: string,
  path: string,
  context: CheckContext,
  faults: PlacedFault[],
): string | null {
  try {
    return context.readFile(resolve(context.baseDir, file));
  } catch (error) {
    const reason = error instanceof Error && "code" in error ? String(error.code) : "unreadable";
    faults.push({
      code: "file_unreadable",
      message: `${file} cannot be read: ${reason}`,
      path,
      found: file,
      allowed: "a readable file",
      at: "value",
    });
    return null;
  }
}

function attempt<T>(make: () => T): T | null {
  try {
    return make();
  } catch {
    return null;
  }
}

function bad(path: string, value: unknown, allowed: string): PlacedFault {
  const found = show(value);
  return { code: "out_of_range", message: `${found}: ${allowed}`, path, found, allowed, at: "value" };
}

function conflict(path: string, message: string): PlacedFault {
  return { code: "conflict", message, path, at: "key" };
}

function oneOf(path: string, choice: string, found: string): PlacedFault {
  return {
    code: "conflict",
    message: `exactly one of ${choice} is needed, found ${found}`,
    path,
    found,
    allowed: `one of ${choice}`,
    at: "value",
  };
}

function duplicate(path: string, what: string, first: string): PlacedFault {
  return {
    code: "duplicate",
    message: `${what} is used already at ${first}`,
    path,
    found: what,
    at: "value",
  };
}

function unknownName(
  path: string,
  name: string,
  { kind, known }: { kind: string; known: Iterable<string> },
): PlacedFault {
  const names = [...known];
  return {
    code: "unknown_reference",
    message: `there is no ${kind} ${show(name)}`,
    path,
    found: name,
    allowed: names.slice(0, 20).join(", ") || `none: no ${kind} is known`,
    suggestion: nearest(name, names),
    at: "value",
  };
}
