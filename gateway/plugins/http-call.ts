// Calls that plugins make: to hosts that the attachment names, over undici, bounded in time and bytes.
// Where a connection leads is checked when it is made and not when its name is read, so that a name
// cannot come to mean an address inside the network; redirects are followed by hand, each checked as
// if the plugin had asked for it.

import type { LookupAddress, LookupOptions } from "node:dns";
import { lookup } from "node:dns";
import { BlockList, isIP } from "node:net";
import type { Agent } from "undici";
import { GRANT_LIMITS } from "./grants.ts";
import type { CallAnswer, CallRequest, HttpCaller } from "./grants.ts";

export type HttpGrant = {
  /** Names and addresses, `*.` for what lies below a name; with a port, only that one. */
  readonly hosts: readonly string[];
  /** True to allow loopback, private and link-local addresses. */
  readonly private: boolean;
};

/** A caller of the granted hosts; connects to nothing yet. */
export function createHttpCaller(grant: HttpGrant): HttpCaller {
  return new Caller(grant);
}

class Caller implements HttpCaller {
  readonly #grant: HttpGrant;
  readonly #closed = new AbortController();
  readonly #undici: Promise<typeof import("undici")>;
  #agent: Agent | null = null;

  constructor(grant: HttpGrant) {
    this.#grant = grant;
    // Loaded only where it is granted, and not within the first call's time.
    this.#undici = import("undici");
    this.#undici.catch(() => {});
  }

  refusal(url: URL): string | null {
    if (url.protocol !== "https:" && url.protocol !== "http:") {
      return "http_call calls http: and https: only";
    }
    if (url.username !== "" || url.password !== "") return "http_call takes no user in its url";
    if (!this.#grant.hosts.some((host) => isGranted(host, url))) {
      return `http_call may not call ${url.host}: it is not among the hosts that are granted`;
    }
    const host = url.hostname.replace(/^\[|\]$/g, "");
    if (isIP(host) !== 0 && !this.#mayConnect(host)) return `http_call may not call ${host}`;
    return null;
  }

  async call(request: CallRequest): Promise<CallAnswer> {
    const signal = AbortSignal.any([
      this.#closed.signal,
      AbortSignal.timeout(Math.ceil(request.timeoutMs)),
    ]);
    try {
      let next: CallRequest | null = request;
      for (let hops = 0; hops <= GRANT_LIMITS.callRedirectsMax; hops++) {
        const answer = await this.#once(next, signal);
        const redirected = this.#redirected(next, answer);
        if (redirected === null) return answer;
        next = redirected;
      }
      return failure("too many redirects");
    } catch (error) {
      return failure(wordFor(error, signal));
    }
  }

  close(): void {
    this.#closed.abort();
    this.#agent?.destroy().catch(() => {});
  }

  async #once(request: CallRequest, signal: AbortSignal): Promise<CallAnswer> {
    const undici = await this.#undici;
    this.#agent ??= new undici.Agent({
      connections: 16,
      allowH2: false,
      maxHeaderSize: 16_384,
      maxResponseSize: GRANT_LIMITS.callResponseBytesMax,
      connect: { lookup: this.#lookup },
    });
    const { statusCode, headers, body } = await undici.request(request.url, {
      dispatcher: this.#agent,
      method: request.method as "GET",
      headers: request.headers.flatMap(([name, value]) => [name, value]),
      ...(request.body === "" ? {} : { body: request.body }),
      signal,
    });
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of body as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > GRANT_LIMITS.callResponseBytesMax) return failure("too large");
      chunks.push(chunk);
    }
    const shown: Record<string, string> = Object.create(null) as Record<string, string>;
    for (const [name, value] of Object.entries(headers)) shown[name] = String(value ?? "");
    const text = Buffer.concat(chunks).toString("utf8");
    return { status: statusCode, headers: shown, body: text, error: "" };
  }

  // The next hop of a redirect; null when the answer is the answer.
  #redirected(request: CallRequest, answer: CallAnswer): CallRequest | null {
    const { location } = answer.headers;
    if (![301, 302, 303, 307, 308].includes(answer.status) || location === undefined) return null;
    const url = URL.parse(location, request.url);
    // What may not be called is not followed; the plugin sees where it would have led.
    if (url === null || this.refusal(url) !== null) return null;
    const keepsBody = answer.status === 307 || answer.status === 308;
    const isSafe = request.method === "GET" || request.method === "HEAD";
    const isElsewhere = url.origin !== request.url.origin;
    return {
      ...request,
      url,
      method: keepsBody || isSafe ? request.method : "GET",
      body: keepsBody ? request.body : "",
      // Credentials were meant for the host that was asked.
      headers: isElsewhere
        ? request.headers.filter(([name]) => !/^(authorization|cookie)$/i.test(name))
        : request.headers,
    };
  }

  // In the place of node's own: names lead only where they may.
  readonly #lookup = (
    hostname: string,
    options: LookupOptions,
    done: (error: Error | null, address: string | LookupAddress[], family?: number) => void,
  ): void => {
    lookup(hostname, { ...options, all: true }, (error, found) => {
      if (error !== null) return done(error, []);
      const allowed = found.filter(({ address }) => this.#mayConnect(address));
      if (allowed.length === 0) return done(new Denied(`${hostname} leads inside`), []);
      if (options.all === true) return done(null, allowed);
      return done(null, allowed[0].address, allowed[0].family);
    });
  };

  #mayConnect(address: string): boolean {
    if (this.#grant.private) return true;
    return !INSIDE.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
  }
}

class Denied extends Error {}

/** Addresses that are not of the public network: RFC 6890 and what maps into it. */
const INSIDE = insideAddresses();

function insideAddresses(): BlockList {
  const list = new BlockList();
  for (const range of [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/3",
  ]) {
    const [address, bits] = range.split("/");
    list.addSubnet(address, Number(bits), "ipv4");
    // The same behind IPv4-mapped addresses and NAT64.
    list.addSubnet(`::ffff:${address}`, 96 + Number(bits), "ipv6");
    list.addSubnet(`64:ff9b::${address}`, 96 + Number(bits), "ipv6");
  }
  for (const range of ["::/127", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "2002::/16"]) {
    const [address, bits] = range.split("/");
    list.addSubnet(address, Number(bits), "ipv6");
  }
  return list;
}

function isGranted(granted: string, url: URL): boolean {
  const colon = granted.lastIndexOf(":");
  const hasPort = colon !== -1 && !granted.endsWith("]");
  const host = hasPort ? granted.slice(0, colon) : granted;
  if (hasPort && granted.slice(colon + 1) !== portOf(url)) return false;
  const name = url.hostname.replace(/\.$/, "");
  if (host.startsWith("*.")) return name.endsWith(host.slice(1)) && name.length >= host.length;
  return name === host;
}

function portOf({ port, protocol }: URL): string {
  if (port !== "") return port;
  return protocol === "https:" ? "443" : "80";
}

function failure(error: string): CallAnswer {
  return { status: 0, headers: {}, body: "", error };
}

// A word that says enough to a plugin and nothing of the network.
function wordFor(error: unknown, signal: AbortSignal): string {
  if (signal.aborted) return "timeout";
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  if (error instanceof Denied || cause instanceof Denied) return "denied";
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (code === "UND_ERR_RES_EXCEEDED_MAX_SIZE") return "too large";
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") return "no such host";
  if (code === "ECONNREFUSED") return "refused";
  return "failed";
}
