// API keys with tiers. The configuration holds hashes and never a key; a key that was sent is hashed,
// compared with every hash whatever matches, and neither logged nor passed on.

import {
  Decision, Policy, Request, Table, checkConfig, decideRequest, fromHex, isSame, isToken, sha256, utf8,
} from "../sdk/index";

const HASH_PREFIX = "sha256:";
const HASH_BYTES = 32;
/** Hashing costs by length, and no key is longer. */
const KEY_CHARS_MAX: i32 = 256;

class Key {
  constructor(readonly name: string, readonly tier: string, readonly hash: ArrayBuffer) {}
}

class ApiKeyTiers extends Policy {
  keys: Key[] = [];
  header: string;
  /** Empty: a key in the query is no key. */
  query: string;
  tierHeader: string;
  nameHeader: string;
  /** The tier of requests without a key; empty: they are refused. */
  anonymousTier: string;

  constructor(config: Table) {
    super();
    this.header = config.at("header").headerName("x-api-key");
    this.query = config.at("query").text("");
    this.tierHeader = config.at("tier_header").headerName("x-tier");
    this.nameHeader = config.at("name_header").headerName("x-consumer");
    this.anonymousTier = config.at("anonymous_tier").text("");
    if (this.anonymousTier != "" && !isToken(this.anonymousTier)) {
      config.fault("anonymous_tier", "must be a word such as free");
    }
    const tables = config.at("keys").required().tables();
    for (let i = 0; i < tables.length; i++) this.addKey(tables[i]);
  }

  onRequest(): Decision {
    let given = Request.header(this.header);
    if (given === null && this.query != "") given = Request.queryParam(this.query);
    if (given === null) return this.anonymous();
    const isShort = given.length <= KEY_CHARS_MAX;
    const key = this.find(sha256(utf8(isShort ? given : "")));
    if (key === null || !isShort) return refuse("the API key is not known");
    return Decision.pass()
      .removeRequestHeader(this.header)
      .setRequestHeader(this.tierHeader, key.tier)
      .setRequestHeader(this.nameHeader, key.name)
      .setValue("api_key", key.name)
      .setValue("tier", key.tier);
  }

  addKey(table: Table): void {
    const name = table.at("name").required().text("");
    const tier = table.at("tier").required().text("");
    const hash = table.at("hash").required().text("");
    if (table.has("name") && !isToken(name)) table.fault("name", "must be a word such as acme");
    if (table.has("tier") && !isToken(tier)) table.fault("tier", "must be a word such as gold");
    const bytes = hash.startsWith(HASH_PREFIX) ? fromHex(hash.substring(HASH_PREFIX.length)) : null;
    if (bytes === null || bytes.byteLength != HASH_BYTES) {
      if (table.has("hash")) table.fault("hash", "must be sha256: and 64 hexadecimal digits");
      return;
    }
    if (this.find(bytes) !== null) table.fault("hash", "is that of an earlier key");
    this.keys.push(new Key(name, tier, bytes));
  }

  /** Looks at every key, so that the time does not tell which one it is, or that there is one. */
  find(hash: ArrayBuffer): Key | null {
    let found: Key | null = null;
    for (let i = 0; i < this.keys.length; i++) {
      const key = this.keys[i];
      if (isSame(key.hash, hash)) found = key;
    }
    return found;
  }

  /** Without a key: what a client says of its tier is never believed. */
  anonymous(): Decision {
    if (this.anonymousTier == "") return refuse("there is no API key");
    return Decision.pass()
      .setRequestHeader(this.tierHeader, this.anonymousTier)
      .removeRequestHeader(this.nameHeader)
      .setValue("tier", this.anonymousTier);
  }
}

function refuse(reason: string): Decision {
  return Decision.deny(401, "A valid API key is needed.\n")
    .header("www-authenticate", "ApiKey")
    .because(reason);
}

export function on_config(): i32 { return checkConfig<ApiKeyTiers>(); }
export function on_request(): i32 { return decideRequest<ApiKeyTiers>(); }
