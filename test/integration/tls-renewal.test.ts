// TLS of the whole gateway, with two workers: sessions are resumed in either, files that are replaced
// on disk are served without a restart, broken ones are not, and what is asked of clients can change.

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import type { Config, ListenerConfig } from "../../gateway/config/schema.ts";
import { Authority } from "../support/certificates.ts";
import type { Made } from "../support/certificates.ts";
import { configText, startGateway, temporaryFolder } from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";
import { recordingOrigin } from "../support/recording-origin.ts";
import { stayOpen, visit } from "../support/tls-client.ts";
import type { Visit } from "../support/tls-client.ts";

const SERVERS = new Authority("servers");
const CLIENTS = new Authority("clients");
const OTHERS = new Authority("others");
const APPLIED = "the configuration file was applied";
const REFUSED = "the configuration file was refused";
const RENEWED = "certificates or ticket keys were renewed";
const TROUBLE = "certificates cannot be renewed";
// Above the time after which files are looked at without a signal.
const LOG_MS = 20_000;
const RESUMED = 20;
const ROUNDS_MAX = 50;

type Served = {
  readonly gateway: RunningGateway;
  readonly config: Config;
  put(name: string, text: string): void;
  putCertificate({ cert, key }: Made): void;
  /** Sends SIGHUP, and waits until so many lines of the log hold a text. */
  reload(text: string, lines: number): Promise<void>;
};

async function served(
  t: TestContext,
  secure: Partial<ListenerConfig["tls"]> = {},
  rest: Partial<Config> = {},
): Promise<Served> {
  const folder = temporaryFolder(t);
  const put = (name: string, text: string) => writeFileSync(join(folder, name), text);
  const putCertificate = ({ cert, key }: Made) => {
    put("site.crt", cert);
    put("site.key", key);
  };
  putCertificate(named("old"));
  put("clients.crt", CLIENTS.cert);
  put("others.crt", OTHERS.cert);
  const files = { cert_file: "site.crt", key_file: "site.key" };
  const config: Config = {
    listeners: [{ name: "web", address: "127.0.0.1:0", tls: { certificates: [files], ...secure } }],
    routes: [{ name: "hello", respond: { status: 200, body: "hello" } }],
    ...rest,
  };
  const gateway = await startGateway(t, { workers: 2, config, folder });
  const reload = async (text: string, lines: number) => {
    gateway.process.kill("SIGHUP");
    await logged(gateway, text, lines);
  };
  return { gateway, config, put, putCertificate, reload };
}

function named(subject: string): Made {
  return SERVERS.make({ subject, dns: ["a.test"] });
}

function linesWith(gateway: RunningGateway, text: string): number {
  return gateway
    .stderr()
    .split("\n")
    .filter((line) => line.includes(text)).length;
}

/** Resolves once so many lines of the log hold a text. */
async function logged(gateway: RunningGateway, text: string, lines: number): Promise<void> {
  const { stderr } = gateway.process;
  assert.ok(stderr !== null);
  await new Promise<void>((resolve, reject) => {
    const look = () => {
      if (linesWith(gateway, text) >= lines) end(resolve);
    };
    const timer = setTimeout(
      () => end(() => reject(new Error(`not ${lines} times ${text} in:\n${gateway.stderr()}`))),
      LOG_MS,
    );
    const end = (settle: () => void) => {
      clearTimeout(timer);
      stderr.off("data", look);
      settle();
    };
    stderr.on("data", look);
    look();
  });
}

/**
 * Changes run one at a time: when one more was answered, whatever came before it is done. It also sets
 * the live configuration apart from the file, so that the next reload says that it applied it.
 */
async function settled(gateway: RunningGateway): Promise<void> {
  const route = { name: "more", respond: { status: 204 } };
  await gateway.admin("PUT", "/admin/routes/more", route);
}

/** What several new connections were shown, by name and without, so that both workers had a turn. */
async function shown(t: TestContext, { gateway }: Served): Promise<string[]> {
  const names = [
    "a.test",
    undefined,
    "a.test",
    undefined,
    "a.test",
    undefined,
    "a.test",
    undefined,
  ];
  const met = await Promise.all(
    names.map((servername) => visit(t, gateway.port(), { servername })),
  );
  return [...new Set(met.map(({ shown }) => shown))];
}

test("a session is resumed in either worker, and keeps its client's certificate", async (t) => {
  const origin = await recordingOrigin(t);
  const { gateway } = await served(
    t,
    { client_auth: "required", client_ca_file: "clients.crt" },
    {
      upstreams: [{ name: "origin", targets: [{ address: origin.address }] }],
      routes: [{ name: "all", upstream: "origin", forward_client_cert: true }],
    },
  );
  const client = CLIENTS.make({ subject: "client" });
  const hash = new X509Certificate(client.cert).fingerprint256.replaceAll(":", "").toLowerCase();
  for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
    const { session } = await visit(t, gateway.port(), { maxVersion, ...client });
    assert.ok(session !== undefined);
    const before = await requestsByWorker(gateway);
    for (let round = 1; ; round++) {
      const met: Visit[] = await Promise.all(
        Array.from({ length: RESUMED }, () => visit(t, gateway.port(), { maxVersion, session })),
      );
      for (const { reused, status } of met) assert.deepEqual([reused, status], [true, 200]);
      const now = await requestsByWorker(gateway);
      if (now.every((count, i) => count > before[i])) break;
      assert.ok(round < ROUNDS_MAX, "one of the workers never had a turn");
    }
  }
  const told = origin
    .take()
    .requests.map(({ fields }) => fields[fields.indexOf("x-forwarded-client-cert") + 1]);
  assert.ok(told.length > 2 * RESUMED);
  assert.deepEqual([...new Set(told)], [`Hash=${hash};Subject="CN=client"`]);
});

async function requestsByWorker(gateway: RunningGateway): Promise<number[]> {
  const { body } = await gateway.admin("GET", "/admin/workers");
  return (body as { requests: number }[]).map(({ requests }) => requests);
}

test("a replaced certificate is served at SIGHUP, and an open connection goes on", async (t) => {
  const site = await served(t);
  const ask = stayOpen(t, site.gateway.port());
  assert.equal(await ask(), 200);
  assert.deepEqual(await shown(t, site), ["old"]);
  site.putCertificate(named("new"));
  await site.reload(RENEWED, 1);
  assert.deepEqual(await shown(t, site), ["new"]);
  assert.equal(await ask(), 200);
});

test("it is served without a signal, too", async (t) => {
  const site = await served(t);
  site.putCertificate(named("new"));
  await logged(site.gateway, RENEWED, 1);
  assert.deepEqual(await shown(t, site), ["new"]);
});

test("a broken file leaves the old certificate serving until it is mended", async (t) => {
  const site = await served(t);
  const { gateway, put, putCertificate, reload } = site;
  const [old, other] = [named("old"), named("other")];
  putCertificate(old);
  await reload(RENEWED, 1);
  const broken: [what: string, make: () => void][] = [
    ["half a certificate", () => put("site.crt", old.cert.slice(0, old.cert.length / 2))],
    ["an empty key", () => put("site.key", "")],
    ["the key of another", () => put("site.key", other.key)],
  ];
  let troubles = 0;
  for (const [what, make] of broken) {
    // Mended in between, so that it is news again.
    for (let times = 1; times <= 2; times++) {
      make();
      await reload(TROUBLE, ++troubles);
      assert.deepEqual(await shown(t, site), ["old"], what);
      // It is said once, however often it is met.
      await reload(REFUSED, 2 * troubles);
      await settled(gateway);
      assert.equal(linesWith(gateway, TROUBLE), troubles, what);
      putCertificate(old);
      await settled(gateway);
      await reload(APPLIED, troubles);
      await settled(gateway);
    }
  }
  await reload(APPLIED, troubles + 1);
  putCertificate(named("mended"));
  await reload(RENEWED, 2);
  assert.deepEqual(await shown(t, site), ["mended"]);
});

test("what is asked of clients changes with the configuration, for new connections", async (t) => {
  const site = await served(t);
  const { gateway, config, put, reload } = site;
  const ours = CLIENTS.make({ subject: "ours" });
  const theirs = OTHERS.make({ subject: "theirs" });
  const ask = stayOpen(t, gateway.port());
  assert.equal(await ask(), 200);
  // Of those without a certificate, with ours, and with theirs.
  const passing = async () => {
    const clients = [{}, ours, theirs].flatMap((client) => [client, client, client, client]);
    const met = await Promise.all(clients.map((client) => visit(t, gateway.port(), client)));
    return [0, 4, 8].map((at) => [...new Set(met.slice(at, at + 4).map(({ status }) => status))]);
  };
  let changes = 0;
  const apply = async (secure: Partial<ListenerConfig["tls"]>) => {
    const listeners = config.listeners?.map((listener) => ({
      ...listener,
      tls: { ...listener.tls, ...secure },
    }));
    put("sallyport.yaml", configText({ ...config, listeners }));
    await reload(APPLIED, ++changes);
  };
  assert.deepEqual(await passing(), [[200], [200], [200]]);
  await apply({ client_auth: "required", client_ca_file: "clients.crt" });
  assert.deepEqual(await passing(), [[0], [200], [0]]);
  await apply({ client_auth: "required", client_ca_file: "others.crt" });
  assert.deepEqual(await passing(), [[0], [0], [200]]);
  await apply({ client_auth: "optional", client_ca_file: "others.crt" });
  assert.deepEqual(await passing(), [[200], [0], [200]]);
  // The same file with other authorities.
  put("others.crt", CLIENTS.cert);
  await reload(RENEWED, 1);
  assert.deepEqual(await passing(), [[200], [200], [0]]);
  await apply({});
  assert.deepEqual(await passing(), [[200], [200], [200]]);
  assert.equal(await ask(), 200);
});
