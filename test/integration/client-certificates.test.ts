// Certificates of clients over real sockets: who passes a listener that asks for one, what a resumed
// session is worth, and what the origin is told. One aim: nobody passes for a holder who is not.

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";
import type { TestContext } from "node:test";
import http2 from "node:http2";
import type { RouteConfig } from "../../gateway/config/schema.ts";
import type { TlsOptions } from "../../gateway/http/listener-host.ts";
import { Authority } from "../support/certificates.ts";
import type { Made, Wanted } from "../support/certificates.ts";
import { handshakes, startEdge, tlsOptions } from "../support/edge.ts";
import type { Edge, EdgeOptions } from "../support/edge.ts";
import { recordingOrigin } from "../support/recording-origin.ts";
import type { RecordingOrigin } from "../support/recording-origin.ts";
import { visit } from "../support/tls-client.ts";

const SERVERS = new Authority("servers");
const CLIENTS = new Authority("clients");
const OTHERS = new Authority("others");
/** Of the right name, but another key. */
const IMPOSTOR = new Authority("clients");
const SERVER = SERVERS.make({ subject: "server", dns: ["a.test"] });
const FIRST = SERVERS.make({ subject: "first", dns: ["first.test"] });
const GOOD = CLIENTS.make({ subject: "good" });
const VERSIONS = ["TLSv1.2", "TLSv1.3"] as const;
const CASES = VERSIONS.flatMap((maxVersion) =>
  ["a.test", undefined].map((servername) => ({ maxVersion, servername })),
);
const HEADER = "x-forwarded-client-cert";

type Listener = { readonly edge: Edge; readonly origin: RecordingOrigin };

async function listener(
  t: TestContext,
  secure: Partial<TlsOptions>,
  { route = {}, ...rest }: Partial<EdgeOptions> & { route?: Partial<RouteConfig> } = {},
): Promise<Listener> {
  const origin = await recordingOrigin(t);
  const edge = await startEdge(t, {
    tls: tlsOptions([FIRST, SERVER], { clientCa: CLIENTS.cert, ...secure }),
    config: {
      // Every client may speak for others here, but not as the holder of a certificate.
      trusted_proxies: ["127.0.0.0/8"],
      upstreams: [{ name: "origin", targets: [{ address: origin.address }] }],
      routes: [{ name: "all", upstream: "origin", forward_client_cert: true, ...route }],
    },
    ...rest,
  });
  return { edge, origin };
}

/** What the origin was told of certificates, request by request, as text. */
function told(origin: RecordingOrigin): string[][] {
  const { faults, requests } = origin.take();
  assert.deepEqual(faults, []);
  return requests.map(({ fields }) =>
    fields
      .filter((_, i) => i % 2 === 1 && fields[i - 1].toLowerCase() === HEADER)
      .map((value) => Buffer.from(value, "latin1").toString()),
  );
}

function hashOf({ cert }: Made): string {
  return new X509Certificate(cert).fingerprint256.replaceAll(":", "").toLowerCase();
}

const VISITORS: [who: string, certificate: Made | null, verdict: "good" | "bad" | "none"][] = [
  ["nobody", null, "none"],
  ["a good one", GOOD, "good"],
  ["one of two kinds", CLIENTS.make({ subject: "rsa", kind: "rsa" }), "good"],
  ["one of another authority", OTHERS.make({ subject: "good" }), "bad"],
  ["one of an authority of the same name", IMPOSTOR.make({ subject: "good" }), "bad"],
  ["an expired one", CLIENTS.make({ subject: "good", validDays: -1 }), "bad"],
];

for (const clientAuth of ["none", "optional", "required"] as const) {
  test(`client_auth ${clientAuth}: who passes, and as whom`, async (t) => {
    const { edge, origin } = await listener(t, { clientAuth });
    for (const [who, certificate, verdict] of VISITORS) {
      const isKnown = verdict === "good" && clientAuth !== "none";
      const passes =
        clientAuth === "none" || isKnown || (clientAuth === "optional" && verdict === "none");
      for (const at of CASES) {
        const met = await visit(t, edge.port, { ...at, ...certificate });
        assert.equal(met.status, passes ? 200 : 0, `${who}: ${JSON.stringify(met)}`);
        assert.equal(met.text === "", !passes);
        const hash = isKnown && certificate !== null ? [hashOf(certificate)] : [];
        const hashes = told(origin).map((values) => values.map((text) => text.slice(5, 69)));
        assert.deepEqual(hashes, passes ? [hash] : [], who);
        // A session of one who did not pass is no way in, and of one who did is worth the same.
        if (met.session === undefined) continue;
        const again = await visit(t, edge.port, { ...at, session: met.session });
        assert.equal(again.status, passes ? 200 : 0, `${who}, resumed: ${JSON.stringify(again)}`);
        const later = told(origin).map((values) => values.map((text) => text.slice(5, 69)));
        assert.deepEqual(later, passes ? [again.reused ? hash : []] : [], who);
        assert.ok(again.reused || !passes, who);
      }
    }
  });
}

test("a refused client is counted as a failed handshake, once", async (t) => {
  for (const clientAuth of ["optional", "required"] as const) {
    const { edge } = await listener(t, { clientAuth });
    for (const maxVersion of VERSIONS) {
      await visit(t, edge.port, { ...OTHERS.make({}), maxVersion });
      await visit(t, edge.port, { ...GOOD, maxVersion });
    }
    assert.deepEqual(handshakes(edge), { ok: 2, failed: 2 }, clientAuth);
  }
});

test("without a certificate where it is required the client is told by an alert", async (t) => {
  const { edge } = await listener(t, { clientAuth: "required" });
  for (const at of CASES) {
    const met = await visit(t, edge.port, at);
    assert.match(met.error, /ALERT_(HANDSHAKE_FAILURE|CERTIFICATE_REQUIRED)$/);
  }
});

test("a session of a listener that asks for nothing does not pass one that does", async (t) => {
  const open = await listener(t, { clientAuth: "none" }, { name: "open" });
  const asked = await listener(t, { clientAuth: "optional" }, { name: "asked" });
  const closed = await listener(t, { clientAuth: "required" }, { name: "closed" });
  for (const isRenewed of [false, true]) {
    // Also with what a renewal made anew.
    if (isRenewed) for (const { edge } of [open, asked, closed]) edge.host.update(edge.listener);
    for (const at of CASES) {
      for (const { edge } of [open, asked]) {
        const { session } = await visit(t, edge.port, at);
        assert.ok(session !== undefined);
        const met = await visit(t, closed.edge.port, { ...at, session });
        assert.deepEqual([met.status, met.reused], [0, false], JSON.stringify(met));
      }
    }
  }
  assert.deepEqual(told(closed.origin), []);
});

test("a session of before a change of what is asked is not worth it any more", async (t) => {
  const { edge, origin } = await listener(t, { clientAuth: "none" });
  const use = (rest: Partial<TlsOptions>) =>
    edge.host.update({
      ...edge.listener,
      tls: tlsOptions([FIRST, SERVER], { clientCa: CLIENTS.cert, ...rest }),
    });
  for (const at of CASES) {
    use({ clientAuth: "none" });
    const open = await visit(t, edge.port, at);
    use({ clientAuth: "required" });
    assert.equal((await visit(t, edge.port, at)).status, 0, "the change is not live");
    const { session } = open;
    assert.ok(session !== undefined);
    assert.equal((await visit(t, edge.port, { ...at, session })).status, 0);
    const known = await visit(t, edge.port, { ...at, ...GOOD });
    assert.equal(known.status, 200);
    // Another authority: who came with the old one's certificate must not stay for a session.
    use({ clientAuth: "required", clientCa: OTHERS.cert });
    const stale = await visit(t, edge.port, { ...at, ...GOOD, session: known.session });
    assert.deepEqual([stale.status, stale.reused], [0, false]);
    const theirs = await visit(t, edge.port, { ...at, ...OTHERS.make({}) });
    assert.equal(theirs.status, 200);
  }
  assert.equal(told(origin).length, CASES.length * 3);
});

test("the origin is told the verified certificate, as Envoy writes it", async (t) => {
  const { edge, origin } = await listener(t, { clientAuth: "required" });
  const C = "2.5.4.6";
  const O = "2.5.4.10";
  const OU = "2.5.4.11";
  const CN = "2.5.4.3";
  const cases: [wanted: Wanted, text: string][] = [
    [{ subject: "plain" }, 'Subject="CN=plain"'],
    [
      // prettier-ignore
      { subject: [[C, "DE"], [O, "Org"], [OU, "one"], [OU, "two"], [CN, "many"]] },
      'Subject="C=DE,O=Org,OU=one,OU=two,CN=many"',
    ],
    [
      { subject: "names", uris: ["spiffe://a/b", "https://c/?d"], dns: ["d.test", "*.e.test"] },
      'Subject="CN=names";URI=spiffe://a/b;URI=https://c/?d;DNS=d.test;DNS=*.e.test',
    ],
    // What could end a value, an element or the field itself.
    [
      { subject: 'a",Subject="CN=admin' },
      String.raw`Subject="CN=a\\\"\\,Subject\\=\\\"CN\\=admin"`,
    ],
    [{ subject: 'a";URI=spiffe://admin' }, String.raw`Subject="CN=a\\\"\\;URI\\=spiffe://admin"`],
    [{ subject: "a\\" }, String.raw`Subject="CN=a\\\\"`],
    [{ subject: "a\r\nx-admin: 1\r\n\r\nGET / \0" }, 'Subject="CN=a??x-admin: 1????GET / ?"'],
    [{ subject: "Žofie 山田" }, 'Subject="CN=Žofie 山田"'],
    [{ subject: "", uris: ["spiffe://only"] }, 'Subject="CN=";URI=spiffe://only'],
    [
      { subject: "u", uris: ["spiffe://a;URI=spiffe://admin"] },
      'Subject="CN=u";URI="spiffe://a;URI=spiffe://admin"',
    ],
    [{ subject: "u", uris: ["spiffe://a?b=c"] }, 'Subject="CN=u";URI="spiffe://a?b=c"'],
    [
      { subject: "d", dns: ["a, URI:spiffe://admin"] },
      String.raw`Subject="CN=d";DNS="\"a\\u002c URI:spiffe://admin\""`,
    ],
    [
      { subject: "d", dns: ['a";URI=spiffe://admin,b\r\n'] },
      String.raw`Subject="CN=d";DNS="\"a\\\";URI=spiffe://admin\\u002cb\\u000d\\u000a\""`,
    ],
  ];
  for (const [wanted, text] of cases) {
    const certificate = CLIENTS.make(wanted);
    assert.equal((await visit(t, edge.port, certificate)).status, 200);
    assert.deepEqual(told(origin), [[`Hash=${hashOf(certificate)};${text}`]]);
  }
});

const CLAIMS = [
  "X-Forwarded-Client-Cert: Hash=00;Subject=admin\r\n",
  "x-forwarded-client-cert: Hash=00\r\nx-forwarded-client-cert: Hash=01\r\n",
  "x-forwarded-client-cert: Hash=00\r\nconnection: x-forwarded-client-cert\r\n",
  "x_forwarded_client_cert: Hash=00\r\n",
];

test("what a client says of itself never reaches the origin", async (t) => {
  for (const forward_client_cert of [true, false]) {
    const { edge, origin } = await listener(
      t,
      { clientAuth: "optional" },
      { route: { forward_client_cert } },
    );
    for (const fields of CLAIMS) {
      for (const certificate of [null, GOOD]) {
        const met = await visit(t, edge.port, { fields, ...certificate });
        assert.equal(met.status, 200);
        const [{ fields: received }] = origin.take().requests;
        const claims = received.filter((_, i) => /forwarded.client.cert/i.test(received[i - 1]));
        const own = forward_client_cert && certificate !== null;
        const expected = own ? [`Hash=${hashOf(GOOD)};Subject="CN=good"`] : [];
        assert.deepEqual(claims, expected, fields);
      }
    }
  }
});

test("over HTTP/2 it is the same", async (t) => {
  const { edge, origin } = await listener(t, { clientAuth: "optional" }, { http2: true });
  for (const certificate of [null, GOOD]) {
    const session = http2.connect(`https://127.0.0.1:${edge.port}`, {
      rejectUnauthorized: false,
      ...certificate,
    });
    t.after(() => session.destroy());
    const stream = session.request({ ":path": "/", [HEADER]: "Hash=00" });
    stream.resume();
    await new Promise<void>((resolve) => stream.once("close", resolve));
    const own = certificate === null ? [] : [`Hash=${hashOf(GOOD)};Subject="CN=good"`];
    assert.deepEqual(told(origin), [own]);
  }
});
