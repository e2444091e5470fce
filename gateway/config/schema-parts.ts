// What the parts of the configuration's schema are made of.

import Type from "typebox";

export const closed = { additionalProperties: false } as const;

/** Names of routes, upstreams, plugins, consumers and listeners: safe in URLs, logs and file names. */
export const Name = Type.String({
  pattern: "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$",
  description: "a-z, 0-9, dot, dash, underscore",
});
/** What it may say is checked across fields: a regular expression cannot. */
export const VersionRange = Type.String({
  minLength: 1,
  maxLength: 128,
  description: "a version like 1.2.0 or a range like ^1.2, resolved when it is applied",
});
/** host:port, [v6]:port; the host may be a name, which is resolved again every `dns_refresh_ms`. */
export const Address = Type.String({ minLength: 3, maxLength: 300, description: "host:port" });
export const Milliseconds = (minimum: number, maximum: number, fallback: number) =>
  Type.Optional(Type.Integer({ minimum, maximum, default: fallback }));
export const HeaderName = Type.String({
  pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$",
  description: "a header's name",
});
export const HeaderValue = Type.String({
  maxLength: 8192,
  pattern: "^[\\t\\x20-\\x7e\\x80-\\xff]*$",
  description: "a header's value: at most 8192 characters, none of control, none beyond U+00FF",
});
