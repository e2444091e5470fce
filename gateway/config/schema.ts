// The configuration's schema: the one description from which the checker, the published JSON
// Schema, the OpenAPI document and the TypeScript types are made. Loaded by the control plane only;
// workers import its types. Unknown keys are refused everywhere; every bound carries its unit.

import Type from "typebox";
import type { Static } from "typebox";
import { LIMITS } from "../base/limits.ts";
import { Admin } from "./schema-admin.ts";
import { TrustedPluginKeys } from "./schema-keys.ts";
import {
  Address,
  HeaderName,
  HeaderValue,
  Milliseconds,
  Name,
  VersionRange,
  closed,
} from "./schema-parts.ts";
import { Record } from "./schema-record.ts";

const Certificate = Type.Object(
  { cert_file: Type.String({ minLength: 1 }), key_file: Type.String({ minLength: 1 }) },
  closed,
);

const NamedCertificate = Type.Object(
  {
    name: Name,
    cert_file: Type.String({ minLength: 1 }),
    key_file: Type.String({ minLength: 1 }),
  },
  closed,
);

const Listener = Type.Object(
  {
    name: Name,
    address: Address,
    accept: Type.Optional(
      Type.Enum(["shared", "reuse-port", "round-robin"], {
        description: "shared (default): workers accept from one socket; see ARCHITECTURE.md",
      }),
    ),
    http2: Type.Optional(
      Type.Boolean({
        description: "by ALPN (true by default with TLS), or with prior knowledge on clear text",
      }),
    ),
    proxy_protocol: Type.Optional(
      Type.Boolean({
        default: false,
        description: "every connection begins with a PROXY header, and is of a trusted proxy",
      }),
    ),
    tls: Type.Optional(
      Type.Object(
        {
          certificates: Type.Optional(Type.Array(Certificate, { maxItems: 1000 })),
          self_signed: Type.Optional(
            Type.Boolean({ default: false, description: "make a certificate at first start" }),
          ),
          client_auth: Type.Optional(Type.Enum(["none", "optional", "required"])),
          client_ca_file: Type.Optional(
            Type.String({ minLength: 1, description: "authorities of clients' certificates" }),
          ),
          min_version: Type.Optional(Type.Enum(["1.2", "1.3"])),
        },
        closed,
      ),
    ),
    timeouts: Type.Optional(
      Type.Object(
        {
          head_ms: Milliseconds(100, 600_000, 10_000),
          body_idle_ms: Milliseconds(100, 600_000, 30_000),
          body_bytes_per_second_min: Type.Optional(
            Type.Integer({
              minimum: 0,
              maximum: 1_000_000_000,
              default: 240,
              description:
                "of a body, in each body_window_ms but the first, until its response begins; 0: any",
            }),
          ),
          body_window_ms: Milliseconds(100, 600_000, 10_000),
          idle_ms: Milliseconds(100, 3_600_000, 75_000),
        },
        closed,
      ),
    ),
  },
  closed,
);

const Target = Type.Object(
  {
    address: Address,
    weight: Type.Optional(Type.Integer({ minimum: 0, maximum: 1000, default: 1 })),
  },
  closed,
);

const Upstream = Type.Object(
  {
    name: Name,
    algorithm: Type.Optional(
      Type.Enum(["round-robin", "least-connections", "consistent-hash", "ewma"]),
    ),
    hash: Type.Optional(
      Type.Object(
        {
          by: Type.Enum(["header", "cookie", "ip", "path"]),
          name: Type.Optional(Type.String({ minLength: 1 })),
        },
        closed,
      ),
    ),
    protocol: Type.Optional(
      Type.Enum(["http1", "http2"], {
        description: "http2: by ALPN with tls, else with prior knowledge; gRPC needs it",
      }),
    ),
    proxy_protocol: Type.Optional(
      Type.Enum(["v1", "v2"], {
        description: "each connection begins with a PROXY header and serves one request",
      }),
    ),
    targets: Type.Array(Target, { minItems: 1, maxItems: 1000 }),
    dns_refresh_ms: Milliseconds(100, 3_600_000, 10_000),
    tls: Type.Optional(
      Type.Object(
        {
          server_name: Type.Optional(Type.String({ minLength: 1 })),
          ca_file: Type.Optional(Type.String({ minLength: 1 })),
          cert_file: Type.Optional(
            Type.String({ minLength: 1, description: "the certificate that the origin asks for" }),
          ),
          key_file: Type.Optional(Type.String({ minLength: 1 })),
          verify: Type.Optional(Type.Boolean({ default: true })),
        },
        closed,
      ),
    ),
    host_header: Type.Optional(
      Type.String({ minLength: 1, description: "preserve (default), target, or a literal host" }),
    ),
    pool: Type.Optional(
      Type.Object(
        {
          sockets_max: Type.Optional(Type.Integer({ minimum: 1, maximum: 65_536, default: 1024 })),
          waiters_max: Type.Optional(Type.Integer({ minimum: 0, maximum: 65_536, default: 1024 })),
          wait_ms: Milliseconds(1, 600_000, 1000),
        },
        closed,
      ),
    ),
    timeouts: Type.Optional(
      Type.Object(
        {
          connect_ms: Milliseconds(1, 600_000, 1000),
          first_byte_ms: Milliseconds(1, 3_600_000, 15_000),
          idle_ms: Milliseconds(1, 3_600_000, 60_000),
        },
        closed,
      ),
    ),
    retry_budget: Type.Optional(
      Type.Object(
        {
          ratio: Type.Optional(Type.Number({ minimum: 0, maximum: 1, default: 0.2 })),
          per_second_min: Type.Optional(Type.Integer({ minimum: 0, maximum: 10_000, default: 3 })),
        },
        closed,
      ),
    ),
  },
  closed,
);

const PathMatch = Type.Union([
  Type.Object({ exact: Type.String({ minLength: 1, maxLength: 4096 }) }, closed),
  Type.Object({ prefix: Type.String({ minLength: 1, maxLength: 4096 }) }, closed),
  Type.Object(
    {
      pattern: Type.String({
        minLength: 1,
        maxLength: 4096,
        description: "/users/{id}/files/{rest...}: one segment each, the last may take the rest",
      }),
    },
    closed,
  ),
]);
const ValueMatch = (name: typeof HeaderName | typeof Name | ReturnType<typeof Type.String>) =>
  Type.Object(
    {
      name,
      exact: Type.Optional(Type.String({ maxLength: 4096 })),
      prefix: Type.Optional(Type.String({ maxLength: 4096 })),
      present: Type.Optional(Type.Boolean()),
    },
    closed,
  );

const Match = Type.Object(
  {
    hosts: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 253 }), { maxItems: 1000 }),
    ),
    paths: Type.Optional(Type.Array(PathMatch, { minItems: 1, maxItems: 100 })),
    methods: Type.Optional(
      Type.Array(
        Type.String({ pattern: "^[A-Z][A-Z-]{0,31}$", description: "a method in capitals" }),
        { minItems: 1, maxItems: 32 },
      ),
    ),
    headers: Type.Optional(Type.Array(ValueMatch(HeaderName), { maxItems: 16 })),
    query: Type.Optional(
      Type.Array(ValueMatch(Type.String({ minLength: 1, maxLength: 256 })), { maxItems: 16 }),
    ),
  },
  closed,
);

const GrantedHost = Type.String({
  pattern: String.raw`^(\*\.)?[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[1-9][0-9]{0,4})?$|^\[[0-9a-f:.]+\](:[1-9][0-9]{0,4})?$`,
  description: "a host, or *. and a domain, with a port or without",
});

const Attachment = Type.Object(
  {
    plugin: Name,
    version: Type.Optional(VersionRange),
    config: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
    fail_mode: Type.Optional(Type.Enum(["closed", "open"])),
    isolation: Type.Optional(Type.Enum(["reuse", "fresh", "thread"])),
    limits: Type.Optional(
      Type.Object(
        {
          cpu_ms: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 5 })),
          memory_pages: Type.Optional(Type.Integer({ minimum: 1, maximum: 256, default: 64 })),
          async_ms: Type.Optional(Type.Integer({ minimum: 1, maximum: 60_000, default: 250 })),
          threads: Type.Optional(Type.Integer({ minimum: 1, maximum: 16, default: 2 })),
        },
        closed,
      ),
    ),
    grants: Type.Optional(
      Type.Object(
        {
          kv: Type.Optional(Type.Boolean({ default: false })),
          body: Type.Optional(
            Type.Object(
              {
                mode: Type.Optional(Type.Enum(["peek", "full"])),
                // A call's kernel memory must hold it.
                bytes_max: Type.Optional(
                  Type.Integer({ minimum: 1, maximum: 524_288, default: 65_536 }),
                ),
              },
              closed,
            ),
          ),
          http: Type.Optional(
            Type.Object(
              {
                hosts: Type.Array(GrantedHost, { minItems: 1, maxItems: 32 }),
                private: Type.Optional(Type.Boolean({ default: false })),
              },
              closed,
            ),
          ),
        },
        closed,
      ),
    ),
  },
  closed,
);

const Route = Type.Object(
  {
    name: Name,
    match: Type.Optional(Match),
    priority: Type.Optional(Type.Integer({ minimum: -1_000_000, maximum: 1_000_000, default: 0 })),
    plugins: Type.Optional(Type.Array(Attachment, { maxItems: 32 })),
    // Exactly one action: upstream, redirect, respond or echo (checked across fields).
    upstream: Type.Optional(Name),
    redirect: Type.Optional(
      Type.Object(
        {
          to: Type.String({
            minLength: 1,
            maxLength: 4096,
            description: "URL or path; {path} and {query} are filled in",
          }),
          status: Type.Optional(Type.Enum([301, 302, 303, 307, 308])),
        },
        closed,
      ),
    ),
    respond: Type.Optional(
      Type.Object(
        {
          status: Type.Optional(Type.Integer({ minimum: 200, maximum: 599, default: 200 })),
          headers: Type.Optional(Type.Record(HeaderName, HeaderValue)),
          body: Type.Optional(Type.String({ maxLength: 65_536 })),
        },
        closed,
      ),
    ),
    echo: Type.Optional(
      Type.Boolean({ description: "the built-in origin: answers with what it received" }),
    ),
    rewrite: Type.Optional(
      Type.Object(
        {
          path: Type.Optional(
            Type.String({ pattern: "^/", maxLength: 4096, description: "a path" }),
          ),
          strip_prefix: Type.Optional(
            Type.String({ pattern: "^/", maxLength: 4096, description: "a path" }),
          ),
          add_prefix: Type.Optional(
            Type.String({ pattern: "^/", maxLength: 4096, description: "a path" }),
          ),
        },
        closed,
      ),
    ),
    request_headers: Type.Optional(
      Type.Object(
        {
          set: Type.Optional(Type.Record(HeaderName, HeaderValue)),
          remove: Type.Optional(Type.Array(HeaderName, { maxItems: 64 })),
        },
        closed,
      ),
    ),
    response_headers: Type.Optional(
      Type.Object(
        {
          set: Type.Optional(Type.Record(HeaderName, HeaderValue)),
          remove: Type.Optional(Type.Array(HeaderName, { maxItems: 64 })),
        },
        closed,
      ),
    ),
    body_bytes_max: Type.Optional(Type.Integer({ minimum: 0, maximum: 2 ** 40 })),
    timeout_ms: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 86_400_000,
        default: 30_000,
        description: "0: no limit",
      }),
    ),
    websocket: Type.Optional(
      Type.Object({ idle_ms: Milliseconds(100, 86_400_000, 600_000) }, closed),
    ),
    forward_client_cert: Type.Optional(
      Type.Boolean({
        default: false,
        description: "X-Forwarded-Client-Cert to the origin, for verified certificates",
      }),
    ),
    server_timing: Type.Optional(Type.Boolean({ default: false })),
    record: Type.Optional(Record),
    retries: Type.Optional(
      Type.Object(
        {
          attempts: Type.Optional(Type.Integer({ minimum: 0, maximum: 5, default: 1 })),
          on: Type.Optional(
            Type.Array(
              Type.Enum(["connect-failure", "reset-before-headers", "502", "503", "504"]),
              { maxItems: 8 },
            ),
          ),
        },
        closed,
      ),
    ),
  },
  closed,
);

const Consumer = Type.Object(
  {
    name: Name,
    credentials: Type.Array(
      Type.Object(
        {
          type: Type.Enum(["api-key"]),
          hash: Type.String({
            pattern: "^(sha256:[0-9a-f]{64}|\\$(env|file):.+)$",
            description: "sha256:<64 hex digits>, $env:NAME or $file:PATH",
            secret: true,
          }),
        },
        closed,
      ),
      { maxItems: 100 },
    ),
  },
  closed,
);

/** The whole configuration. */
export const ConfigSchema = Type.Object(
  {
    workers: Type.Optional(
      Type.Union([Type.Literal("auto"), Type.Integer({ minimum: 1, maximum: LIMITS.workersMax })]),
    ),
    data_dir: Type.Optional(Type.String({ minLength: 1, default: "./var" })),
    admin: Type.Optional(Admin),
    access_log: Type.Optional(
      Type.Object(
        { path: Type.String({ minLength: 1, description: "a file, or - for standard output" }) },
        closed,
      ),
    ),
    limits: Type.Optional(
      Type.Object(
        {
          connections_max: Type.Optional(
            Type.Integer({ minimum: 1, maximum: 1_000_000, default: 20_000 }),
          ),
          connections_per_address_max: Type.Optional(
            Type.Integer({
              minimum: 1,
              maximum: 1_000_000,
              description: "of one client address; left out: only connections_max counts",
            }),
          ),
          body_bytes_max: Type.Optional(
            Type.Integer({ minimum: 0, maximum: 2 ** 40, default: 2 ** 30 }),
          ),
        },
        closed,
      ),
    ),
    trusted_proxies: Type.Optional(
      Type.Array(Type.String(), {
        maxItems: 1000,
        description: "addresses or CIDRs whose X-Forwarded-* and Forwarded headers are believed",
      }),
    ),
    trusted_plugin_keys: Type.Optional(TrustedPluginKeys),
    drain_ms: Milliseconds(0, 3_600_000, 30_000),
    certificates: Type.Optional(
      Type.Array(NamedCertificate, {
        maxItems: 1000,
        description: "for every listener with TLS, beside its own; the client's name chooses",
      }),
    ),
    listeners: Type.Optional(Type.Array(Listener, { maxItems: 100 })),
    upstreams: Type.Optional(Type.Array(Upstream, { maxItems: LIMITS.upstreamsMax })),
    routes: Type.Optional(Type.Array(Route, { maxItems: LIMITS.routesMax })),
    consumers: Type.Optional(Type.Array(Consumer, { maxItems: LIMITS.consumersMax })),
  },
  closed,
);

export type Config = Static<typeof ConfigSchema>;
export type ListenerConfig = Static<typeof Listener>;
export type UpstreamConfig = Static<typeof Upstream>;
export type RouteConfig = Static<typeof Route>;
export type RouteMatchConfig = Static<typeof Match>;
export type AttachmentConfig = Static<typeof Attachment>;
export type ConsumerConfig = Static<typeof Consumer>;

declare const valid: unique symbol;
/** A configuration that passed schema and cross-checks; only parse.ts makes one. */
export type ParsedConfig = Readonly<Config> & { readonly [valid]: true };
