// TLS of a listener over real sockets: which certificate a client gets by its name and its abilities,
// which versions and ciphers are spoken, which sessions are resumed, and that what is not TLS, or never
// becomes it, is let go. The clients are node:tls; the certificates are made here.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import type { SecureVersion } from "node:tls";
import type { TlsOptions } from "../../gateway/http/listener-host.ts";
import { Authority } from "../support/certificates.ts";
import { handshakes, startEdge, tlsOptions } from "../support/edge.ts";
import type { Edge } from "../support/edge.ts";
import { connectRaw } from "../support/raw.ts";
import { stayOpen, visit } from "../support/tls-client.ts";

const AUTHORITY = new Authority("authority");
const ECDSA = { sigalgs: "ecdsa_secp256r1_sha256" };
const RSA = { sigalgs: "rsa_pss_rsae_sha256:rsa_pkcs1_sha256" };
const VERSIONS = ["TLSv1.2", "TLSv1.3"] as const;

async function listener(
  t: TestContext,
  certificates: TlsOptions["certificates"],
  rest: Partial<TlsOptions> = {},
): Promise<Edge> {
  return await startEdge(t, {
    tls: tlsOptions(certificates, rest),
    config: { routes: [{ name: "hello", respond: { status: 200, body: "hello" } }] },
  });
}

function named(subject: string, dns: readonly string[], kind: "ec" | "rsa" = "ec") {
  return AUTHORITY.make({ subject, dns, kind });
}

test("a name gets its certificate: exact before wildcard, wildcard for one label", async (t) => {
  const { port } = await listener(t, [
    named("first", ["first.test"]),
    named("wildcard", ["*.site.test"]),
    named("exact", ["www.site.test"]),
    named("Capital", ["MiXed.test"]),
  ]);
  const cases: [servername: string | undefined, shown: string][] = [
    ["first.test", "first"],
    ["www.site.test", "exact"],
    ["WWW.Site.TEST", "exact"],
    ["api.site.test", "wildcard"],
    ["API.site.test", "wildcard"],
    ["deep.api.site.test", "first"],
    ["site.test", "first"],
    ["mixed.TEST", "Capital"],
    ["unknown.test", "first"],
    ["localhost", "first"],
    [undefined, "first"],
  ];
  for (const maxVersion of VERSIONS) {
    for (const [servername, shown] of cases) {
      const met = await visit(t, port, { servername, maxVersion });
      assert.deepEqual([met.shown, met.status], [shown, 200], `${servername} over ${maxVersion}`);
    }
  }
});

test("of two kinds of certificate for a name a client gets the one it can verify", async (t) => {
  const { port } = await listener(t, [
    named("first", ["first.test"]),
    named("rsa", ["both.test", "*.both.test"], "rsa"),
    named("ec", ["both.test", "*.both.test"]),
    named("only-rsa", ["old.test"], "rsa"),
  ]);
  for (const maxVersion of VERSIONS) {
    for (const servername of ["both.test", "www.both.test"]) {
      for (const [client, shown] of [[ECDSA, "ec"] as const, [RSA, "rsa"] as const]) {
        const met = await visit(t, port, { servername, maxVersion, ...client });
        assert.deepEqual([met.shown, met.status], [shown, 200], `${servername}, ${maxVersion}`);
      }
      assert.equal((await visit(t, port, { servername, maxVersion })).shown, "ec");
    }
    // Never the certificate of another name, because that would fit better.
    assert.equal((await visit(t, port, { servername: "old.test", maxVersion })).shown, "only-rsa");
    const none = await visit(t, port, { servername: "old.test", maxVersion, ...ECDSA });
    assert.deepEqual([none.shown, none.error], ["", "ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE"]);
  }
});

test("so does a client without a name, and one whose ciphers tell its kind", async (t) => {
  const { port } = await listener(t, [
    named("rsa", ["both.test"], "rsa"),
    named("ec", ["both.test"]),
    named("other", ["other.test"]),
  ]);
  for (const servername of [undefined, "unknown.test", "both.test"]) {
    for (const maxVersion of VERSIONS) {
      assert.equal((await visit(t, port, { servername, maxVersion, ...RSA })).shown, "rsa");
      assert.equal((await visit(t, port, { servername, maxVersion, ...ECDSA })).shown, "ec");
    }
    for (const [ciphers, shown] of [
      ["ECDHE-RSA-AES128-GCM-SHA256", "rsa"],
      ["ECDHE-ECDSA-AES128-GCM-SHA256", "ec"],
    ]) {
      const met = await visit(t, port, { servername, maxVersion: "TLSv1.2", ciphers });
      assert.equal(met.shown, shown, `${servername} with ${ciphers}`);
    }
  }
});

test("versions below the configured one are refused", async (t) => {
  const certificates = [named("site", ["a.test"], "rsa")];
  const both = await listener(t, certificates);
  const newest = await listener(t, certificates, { minVersion: "TLSv1.3" });
  const refused = "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION";
  const cases: [edge: Edge, version: SecureVersion, status: number, error: string][] = [
    [both, "TLSv1.3", 200, ""],
    [both, "TLSv1.2", 200, ""],
    [both, "TLSv1.1", 0, refused],
    [newest, "TLSv1.3", 200, ""],
    [newest, "TLSv1.2", 0, refused],
    [newest, "TLSv1.1", 0, refused],
  ];
  for (const [edge, version, status, error] of cases) {
    for (const servername of ["a.test", undefined]) {
      const range = { minVersion: version, maxVersion: version, ciphers: "DEFAULT@SECLEVEL=0" };
      const met = await visit(t, edge.port, { servername, ...range });
      assert.deepEqual([met.status, met.error], [status, error], `${version} to ${servername}`);
      assert.equal(met.protocol, status === 0 ? "" : version);
    }
  }
});

test("only ciphers with forward secrecy and authenticated encryption are spoken", async (t) => {
  const { port } = await listener(t, [named("site", ["a.test"], "rsa")]);
  const cases: [ciphers: string, status: number][] = [
    ["ECDHE-RSA-AES128-GCM-SHA256", 200],
    ["ECDHE-RSA-CHACHA20-POLY1305", 200],
    ["ECDHE-RSA-AES128-SHA256", 0],
    ["ECDHE-RSA-AES256-SHA", 0],
    ["AES128-GCM-SHA256", 0],
    ["AES128-SHA", 0],
  ];
  for (const [ciphers, status] of cases) {
    for (const servername of ["a.test", undefined]) {
      const met = await visit(t, port, { ciphers, servername, maxVersion: "TLSv1.2" });
      const error = status === 0 ? "ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE" : "";
      assert.deepEqual([met.status, met.error], [status, error], ciphers);
    }
  }
});

test("a session is resumed, by name and without, and after the certificate was replaced", async (t) => {
  const certificates = [named("first", ["first.test"]), named("site", ["a.test"])];
  const edge = await listener(t, certificates);
  for (const maxVersion of VERSIONS) {
    for (const servername of ["a.test", undefined]) {
      const first = await visit(t, edge.port, { servername, maxVersion });
      assert.ok(first.session !== undefined && !first.reused);
      const { session } = first;
      const second = await visit(t, edge.port, { servername, maxVersion, session });
      assert.deepEqual([second.reused, second.status], [true, 200], `${servername} ${maxVersion}`);
      replace(edge, tlsOptions([named("new", ["a.test"])]));
      const third = await visit(t, edge.port, { servername, maxVersion, session });
      assert.deepEqual([third.reused, third.status], [true, 200], "after a renewal");
      replace(edge, tlsOptions(certificates));
    }
  }
});

test("with other ticket keys there is a whole handshake instead", async (t) => {
  const certificates = [named("site", ["a.test"])];
  const edge = await listener(t, certificates);
  for (const maxVersion of VERSIONS) {
    const { session } = await visit(t, edge.port, { maxVersion });
    replace(edge, tlsOptions(certificates, { ticketKeys: new Uint8Array(48).fill(8) }));
    const again = await visit(t, edge.port, { maxVersion, session });
    assert.deepEqual([again.reused, again.status, again.shown], [false, 200, "site"]);
    replace(edge, tlsOptions(certificates));
  }
});

test("replaced certificates are for new connections; an open one goes on", async (t) => {
  const edge = await listener(t, [named("old", ["a.test"])]);
  const ask = stayOpen(t, edge.port);
  assert.equal(await ask(), 200);
  replace(edge, tlsOptions([named("new", ["a.test"])]));
  assert.equal((await visit(t, edge.port, { servername: "a.test" })).shown, "new");
  assert.equal((await visit(t, edge.port)).shown, "new");
  assert.equal(await ask(), 200);
});

function replace(edge: Edge, options: TlsOptions): void {
  edge.host.update({ ...edge.listener, tls: options });
}

test("what is not TLS ends without harm, and is counted", async (t) => {
  const edge = await listener(t, [named("site", ["a.test"])]);
  const texts = [
    "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    // A record that is longer than one may be, one of no known type, and an empty hello.
    "\x16\x03\x01\xff\xff",
    "\x99\x03\x03\x00\x05hello",
    "\x16\x03\x01\x00\x04\x01\x00\x00\x00",
  ];
  for (const text of texts) {
    const client = await connectRaw(t, edge.port);
    client.send(text);
    const answer = await client.closed();
    assert.doesNotMatch(answer.text, /HTTP/, JSON.stringify(text));
  }
  assert.equal((await visit(t, edge.port)).status, 200);
  assert.deepEqual(handshakes(edge), { ok: 1, failed: texts.length });
  const gone = await connectRaw(t, edge.port);
  gone.send("\x16\x03\x01\x02\x00\x01");
  gone.socket.resetAndDestroy();
  assert.equal((await visit(t, edge.port)).status, 200);
});

test("a client that never finishes its handshake is let go", { timeout: 20_000 }, async (t) => {
  const edge = await listener(t, [named("site", ["a.test"])]);
  const silent = await connectRaw(t, edge.port);
  const beganMs = performance.now();
  await new Promise<void>((resolve) => silent.socket.once("end", () => resolve()));
  const tookMs = performance.now() - beganMs;
  assert.ok(tookMs > 9_000 && tookMs < 15_000, `after ${tookMs} ms`);
  assert.deepEqual(handshakes(edge), { ok: 0, failed: 1 });
});
