// What a schema cannot say of a configuration: names that must exist or be unique, fields that go
// together, addresses, patterns, files. Every fault is reported, none twice. Works on what is left
// of a configuration that does not fit its schema, where any part may be unknown.

import {
  LISTEN_WORDS,
  TARGET_WORDS,
  isAddressRange,
  isHostName,
  isSameSocket,
  parseListenAddress,
  parseTargetAddress,
} from "./address.ts";
import type { Address } from "./address.ts";
import { checkAdminKeys } from "./admin-keys.ts";
import { checkAuthorities, checkCertificate } from "./check-files.ts";
import { checkTrustedKeys } from "./check-keys.ts";
import { checkRoute } from "./check-route.ts";
import type { KnownNames } from "./check-route.ts";
import type { CheckContext } from "./context.ts";
import type { FaultList } from "./fault-list.ts";
import type { Compiled } from "./schema-faults.ts";
import type { Config, ListenerConfig, UpstreamConfig } from "./schema.ts";
import { checkSecrets } from "./secrets.ts";
import { isGiven } from "./sound.ts";
import type { Sound } from "./sound.ts";

/** What the rules need beside the configuration. */
export type Rules = {
  readonly context: CheckContext;
  /** Schemas of the built-in plugins' configurations, by name. */
  readonly builtins: ReadonlyMap<string, Compiled>;
  readonly faults: FaultList;
};

/** Adds every fault that the schema does not know of. */
export function checkRules(config: Sound<Config>, rules: Rules): void {
  const { context, faults } = rules;
  const { certificates = [], listeners = [], upstreams = [] } = config;
  const { routes = [], consumers = [] } = config;
  const named = { certificates, listeners, upstreams, routes, consumers };
  for (const [key, list] of Object.entries(named)) checkUnique(list, `/${key}`, faults);
  const { keys = [] } = config.admin ?? {};
  checkUnique(keys, "/admin/keys", faults);
  checkAdminKeys(keys, faults);
  const { trusted_plugin_keys: trusted = [] } = config;
  checkUnique(trusted, "/trusted_plugin_keys", faults);
  checkTrustedKeys(trusted, faults);
  certificates.forEach((files, i) => {
    if (files !== undefined) checkCertificate(files, `/certificates/${i}`, rules);
  });
  checkListeners(config, rules);
  upstreams.forEach((upstream, i) => {
    if (upstream !== undefined) checkUpstream(upstream, `/upstreams/${i}`, rules);
  });
  const names: KnownNames = { upstreams: upstreamNames(config), plugins: context.plugins };
  const world = { ...rules, names, schemas: new Map(), resolved: new Map() };
  routes.forEach((route, i) => {
    if (route !== undefined) checkRoute(route, `/routes/${i}`, world);
  });
  (config.trusted_proxies ?? []).forEach((entry, i) => {
    if (entry === undefined || isAddressRange(entry)) return;
    const allowed = "an IP address or a range like 10.0.0.0/8";
    faults.outOfRange(`/trusted_proxies/${i}`, entry, allowed);
  });
  checkSecrets(config, context, faults);
}

// Null when a name cannot be told: then it may be the very one that a route refers to.
function upstreamNames(config: Sound<Config>): ReadonlySet<string> | null {
  const { upstreams } = config;
  if (upstreams === undefined) return isGiven(config, "upstreams") ? null : new Set();
  const names = new Set<string>();
  for (const upstream of upstreams) {
    if (upstream?.name === undefined) return null;
    names.add(upstream.name);
  }
  return names;
}

function checkUnique(
  list: readonly ({ readonly name?: string } | undefined)[],
  path: string,
  faults: FaultList,
): void {
  const seen = new Map<string, number>();
  list.forEach((item, i) => {
    if (item?.name === undefined) return;
    const first = seen.get(item.name);
    if (first === undefined) seen.set(item.name, i);
    else faults.duplicate(`${path}/${i}/name`, `the name ${item.name}`, `${path}/${first}`);
  });
}

function checkListeners(config: Sound<Config>, rules: Rules): void {
  const { faults } = rules;
  const taken: { readonly address: Address; readonly path: string }[] = [];
  const take = (text: string | undefined, path: string) => {
    if (text === undefined) return;
    const address = parseListenAddress(text);
    if (address === null) {
      faults.outOfRange(path, text, LISTEN_WORDS);
      return;
    }
    const other = taken.find((one) => isSameSocket(one.address, address));
    if (other !== undefined) faults.duplicate(path, `the address ${text}`, other.path);
    else taken.push({ address, path });
  };
  take(config.admin?.listen, "/admin/listen");
  config.listeners?.forEach((listener, i) => {
    take(listener?.address, `/listeners/${i}/address`);
    if (listener?.proxy_protocol === true && !isGiven(config, "trusted_proxies")) {
      const why = "proxy_protocol: true needs the addresses that may send the header";
      faults.missing("", "trusted_proxies", why);
    }
    const path = `/listeners/${i}/tls`;
    checkListenerTls(listener?.tls, { path, hasShared: isSharing(config) }, rules);
  });
}

// True when there are certificates for every listener, or when that cannot be told.
function isSharing(config: Sound<Config>): boolean {
  const { certificates } = config;
  return certificates === undefined ? isGiven(config, "certificates") : certificates.length > 0;
}

function checkListenerTls(
  tls: Sound<ListenerConfig["tls"]>,
  { path, hasShared }: { path: string; hasShared: boolean },
  rules: Rules,
): void {
  if (tls === undefined) return;
  const { certificates = [] } = tls;
  const isUnknown = certificates.length === 0 && tls.certificates === undefined;
  const lacks = certificates.length === 0 && !(isUnknown && isGiven(tls, "certificates"));
  if (lacks && !hasShared && (tls.self_signed === false || !isGiven(tls, "self_signed"))) {
    const allowed = "certificates: [{ cert_file, key_file }], or self_signed: true";
    rules.faults.missing(path, allowed, "TLS needs a certificate");
  }
  certificates.forEach((files, i) => {
    if (files !== undefined) checkCertificate(files, `${path}/certificates/${i}`, rules);
  });
  const asks = tls.client_auth === "optional" || tls.client_auth === "required";
  if (asks && !isGiven(tls, "client_ca_file")) {
    const why = `client_auth: ${tls.client_auth} needs the authorities that it believes`;
    rules.faults.missing(path, "client_ca_file", why);
  }
  if (!asks && isGiven(tls, "client_ca_file") && !isGiven(tls, "client_auth")) {
    const why = "client_ca_file does nothing without client_auth: optional or required";
    rules.faults.conflict(`${path}/client_ca_file`, why);
  }
  if (tls.client_ca_file !== undefined) {
    checkAuthorities(tls.client_ca_file, `${path}/client_ca_file`, rules);
  }
}

function checkUpstream(upstream: Sound<UpstreamConfig>, path: string, rules: Rules): void {
  const { faults } = rules;
  upstream.targets?.forEach((target, i) => {
    const address = target?.address;
    if (address === undefined || parseTargetAddress(address) !== null) return;
    faults.outOfRange(`${path}/targets/${i}/address`, address, TARGET_WORDS);
  });
  checkHash(upstream, path, faults);
  const { host_header: host, tls } = upstream;
  if (host !== undefined && host !== "preserve" && host !== "target" && !isHost(host)) {
    faults.outOfRange(`${path}/host_header`, host, "preserve, target or a host");
  }
  if (tls?.server_name !== undefined && !isHostName(tls.server_name)) {
    faults.outOfRange(`${path}/tls/server_name`, tls.server_name, "a host name");
  }
  if (tls?.ca_file !== undefined) checkAuthorities(tls.ca_file, `${path}/tls/ca_file`, rules);
  checkClientCertificate(tls, `${path}/tls`, rules);
  if (upstream.protocol === "http2" && isGiven(upstream, "proxy_protocol")) {
    const why = "proxy_protocol names one client, and a connection of http2 serves many";
    faults.conflict(`${path}/proxy_protocol`, why);
  }
}

// For origins that ask for one: both files or neither.
function checkClientCertificate(
  tls: Sound<UpstreamConfig["tls"]>,
  path: string,
  rules: Rules,
): void {
  if (tls === undefined) return;
  const given = ["cert_file", "key_file"].filter((key) => isGiven(tls, key));
  if (given.length === 1) {
    const other = given[0] === "cert_file" ? "key_file" : "cert_file";
    rules.faults.missing(path, other, `${given[0]} does nothing without ${other}`);
  }
  checkCertificate(tls, path, rules);
}

function checkHash(upstream: Sound<UpstreamConfig>, path: string, faults: FaultList): void {
  const { algorithm, hash } = upstream;
  const isHashing = algorithm === "consistent-hash";
  if (isHashing && !isGiven(upstream, "hash")) {
    const allowed = "hash: { by: header, cookie, ip or path }";
    faults.missing(path, allowed, "consistent-hash needs to know what to hash");
  }
  const isOther = algorithm !== undefined || !isGiven(upstream, "algorithm");
  if (isGiven(upstream, "hash") && !isHashing && isOther) {
    faults.conflict(`${path}/hash`, "hash does nothing without algorithm: consistent-hash");
  }
  if (hash?.by === undefined) return;
  const needsName = hash.by === "header" || hash.by === "cookie";
  if (needsName && !isGiven(hash, "name")) {
    faults.missing(`${path}/hash`, "name", `hashing by ${hash.by} needs the ${hash.by}'s name`);
  } else if (!needsName && isGiven(hash, "name")) {
    faults.conflict(`${path}/hash/name`, `hashing by ${hash.by} takes no name`);
  } else if (hash.name !== undefined && !/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/.test(hash.name)) {
    faults.outOfRange(`${path}/hash/name`, hash.name, `a ${hash.by}'s name`);
  }
}

// With or without a port.
function isHost(text: string): boolean {
  return parseTargetAddress(text) !== null || parseTargetAddress(`${text}:80`) !== null;
}
