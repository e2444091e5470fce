// A gateway that trusts three keys takes nothing else: every upload of a matrix is refused with its own code
// and leaves the registry, the modules and what is served as they were. Then what each format is for works,
// and keys change while it runs. Real gateways, over the admin API.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import type { Config } from "../../gateway/config/schema.ts";
import { startGateway, temporaryFolder } from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";
import {
  MODULE,
  NAME,
  NEXT,
  base64,
  line,
  makeKeys,
  tamperCases,
  trustedKeys,
} from "../support/signature-cases.ts";
import { manifestPlugin, namelessPlugin } from "../support/signed-plugin.ts";

const FIRST = manifestPlugin(NAME, "1.2.0");

type Upload = {
  readonly bytes: Uint8Array;
  readonly header?: string | null;
  readonly query?: string;
  /** In place of /load. */
  readonly path?: string;
};

type Answer = {
  readonly status: number;
  readonly code?: string;
  readonly signed_by?: string | null;
};

async function upload(gateway: RunningGateway, wanted: Upload): Promise<Answer> {
  const { bytes, header = null, query = "", path = `load?${query}` } = wanted;
  const headers: Record<string, string> = { "x-api-key": gateway.key };
  if (header !== null) headers["x-plugin-signature"] = header;
  const response = await fetch(`${gateway.adminUrl}/admin/plugins/${path}`, {
    method: "POST",
    headers,
    body: bytes as Uint8Array<ArrayBuffer>,
  });
  return { ...((await response.json()) as Answer), status: response.status };
}

/** All that is stored, by digest. */
function stored({ dataDir }: RunningGateway): string {
  const folder = join(dataDir, "plugins");
  const files = readdirSync(folder, { recursive: true, withFileTypes: true });
  const lines = files
    .filter((file) => file.isFile())
    .map((file) => {
      const bytes = readFileSync(join(file.parentPath, file.name));
      return `${file.name} ${createHash("sha256").update(bytes).digest("hex")}`;
    });
  return lines.sort().join("\n");
}

const config = (keys: Config["trusted_plugin_keys"], plugins = [{ plugin: NAME }]): Config => ({
  listeners: [{ name: "http", address: "127.0.0.1:0" }],
  routes: [{ name: "all", plugins, echo: true }],
  ...(keys === undefined ? {} : { trusted_plugin_keys: keys }),
});

/** A gateway that serves authz 1.2.0, signed by the release's key. */
async function signedGateway(t: TestContext, keys = makeKeys()) {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, `${NAME}.wasm.sig`), line(keys, "1.2.0", FIRST));
  const options = { folder, plugins: { [NAME]: FIRST }, config: config(trustedKeys(keys)) };
  return { keys, gateway: await startGateway(t, options) };
}

async function statusOf(gateway: RunningGateway): Promise<number> {
  return (await fetch(`http://127.0.0.1:${gateway.port()}/`)).status;
}

/** Replaces the configuration; the admin API stays where it is. */
async function configure(gateway: RunningGateway, change: (config: Config) => void, query = "") {
  const { body } = await gateway.admin("GET", "/admin/config");
  const live = (body as { config?: Config }).config ?? (body as Config);
  change(live);
  return await gateway.admin("PUT", `/admin/config${query}`, live);
}

test("every upload of the matrix is refused with its code, and changes nothing", async (t) => {
  const { gateway, keys } = await signedGateway(t);
  assert.equal(await statusOf(gateway), 200);
  const before = stored(gateway);
  const cases = tamperCases(keys);
  assert.ok(cases.length >= 30, `${cases.length} cases`);
  assert.equal(new Set(cases.map(({ what }) => what)).size, cases.length);
  for (const {
    what,
    code,
    header,
    bytes = MODULE,
    query = `name=${NAME}&version=${NEXT}`,
  } of cases) {
    await t.test(`${what}: ${code}`, async () => {
      const answer = await upload(gateway, { bytes, header, query });
      assert.deepEqual([answer.status, answer.code], [422, code], JSON.stringify(answer));
      assert.equal(stored(gateway), before);
    });
  }
  await t.test("storing without making current is refused alike", async () => {
    for (const { what, code, header, bytes = MODULE, query } of cases) {
      if (code === "version_downgrade" || query !== undefined) continue;
      const answer = await upload(gateway, { bytes, header, path: `${NAME}/versions/${NEXT}` });
      assert.deepEqual([answer.status, answer.code], [422, code], what);
    }
    assert.equal(stored(gateway), before);
  });
  await t.test("what served goes on", async () => {
    assert.equal(await statusOf(gateway), 200);
    const { body } = await gateway.admin("GET", `/admin/plugins/${NAME}`);
    assert.deepEqual([body.current, body.versions.length], ["1.2.0", 1]);
  });
});

test("each format is good for an upload by its key, and says who signed", async (t) => {
  const { gateway, keys } = await signedGateway(t);
  const { laptop, pipeline } = keys;
  const at = (version: string) => manifestPlugin(NAME, version);
  for (const [version, header, by] of [
    ["1.3.0", line(keys), "release"],
    ["1.4.0", base64(`${line(keys, "1.4.0", at("1.4.0"))}\n`), "release"],
    ["1.5.0", base64(laptop.sign(at("1.5.0"))), "laptop"],
    ["1.6.0", base64(laptop.sign(at("1.6.0"), { comment: `plugin:${NAME}@1.6.0` })), "laptop"],
    ["1.7.0", base64(pipeline.sign(at("1.7.0"))), "pipeline"],
    ["1.8.0", pipeline.sign(at("1.8.0")).trimEnd(), "pipeline"],
  ]) {
    const answer = await upload(gateway, { bytes: at(version), header });
    assert.deepEqual([answer.status, answer.signed_by], [201, by], JSON.stringify(answer));
    const again = await upload(gateway, { bytes: at(version), header });
    assert.equal(again.status, 200);
    const { body } = await gateway.admin("GET", `/admin/plugins/${NAME}/versions/${version}`);
    assert.deepEqual([body.current, body.signed_by], [true, by]);
  }
  const bytes = namelessPlugin();
  const comment = "plugin:plain@2.0.0";
  const plain = await upload(gateway, { bytes, header: base64(laptop.sign(bytes, { comment })) });
  assert.deepEqual([plain.status, plain.signed_by], [201, "laptop"], JSON.stringify(plain));
  assert.equal(await statusOf(gateway), 200);
});

test("an older version is stored and rolled back to, but no upload makes it current", async (t) => {
  const { gateway, keys } = await signedGateway(t);
  const bytes = manifestPlugin(NAME, "1.1.0");
  const header = line(keys, "1.1.0", bytes);
  assert.equal((await upload(gateway, { bytes, header })).code, "version_downgrade");
  assert.equal(
    (await upload(gateway, { bytes, header, path: `${NAME}/versions/1.1.0` })).status,
    201,
  );
  const back = await gateway.admin("PUT", `/admin/plugins/${NAME}/current`, { version: "1.1.0" });
  assert.equal(back.status, 200, back.text);
  assert.equal(
    (await upload(gateway, { bytes: FIRST, header: line(keys, "1.2.0", FIRST) })).status,
    200,
  );
  // A known one is no downgrade: its maker had it here before.
  assert.equal((await upload(gateway, { bytes, header })).status, 200);
  assert.equal(await statusOf(gateway), 200);
});

test("keys are trusted while the gateway runs, once all that is attached is signed", async (t) => {
  const keys = makeKeys();
  const gateway = await startGateway(t, { plugins: { [NAME]: FIRST }, config: config(undefined) });
  const [release, laptop] = trustedKeys(keys);
  const trust =
    (...entries: (typeof release)[]) =>
    (next: Config) =>
      void (next.trusted_plugin_keys = entries);

  for (const query of ["", "?dry_run=true"]) {
    const refused = await configure(gateway, trust(release), query);
    assert.equal(refused.status, 422, refused.text);
    const [fault] = refused.body.faults;
    assert.deepEqual([fault.code, fault.path], ["conflict", "/routes/0/plugins/0"]);
    assert.match(fault.message, /^authz@1\.2\.0 would not run: .* Push the same module again/);
  }
  // Signatures are kept before anybody asks for them; their form is looked at.
  assert.equal((await upload(gateway, { bytes: FIRST, header: "*" })).code, "signature_malformed");
  const kept = await upload(gateway, { bytes: FIRST, header: line(keys, "1.2.0", FIRST) });
  assert.deepEqual([kept.status, kept.signed_by], [200, null]);
  const unsigned = manifestPlugin("idle", "1.0.0");
  assert.equal((await upload(gateway, { bytes: unsigned })).status, 201);

  assert.equal((await configure(gateway, trust(release))).status, 200);
  const { body } = await gateway.admin("GET", `/admin/plugins/${NAME}`);
  assert.equal(body.versions[0].signed_by, "release");
  assert.equal(await statusOf(gateway), 200);
  assert.equal((await upload(gateway, { bytes: MODULE })).code, "signature_missing");

  await t.test("what is not signed is neither made current, tried nor attached", async () => {
    const current = await gateway.admin("PUT", "/admin/plugins/idle/current", { version: "1.0.0" });
    assert.equal(current.body.code, "signature_missing");
    const tried = await gateway.admin("POST", "/admin/plugins/idle/versions/1.0.0/test", {});
    assert.equal(tried.body.code, "signature_missing");
    const attached = await configure(
      gateway,
      ({ routes }) => void routes?.[0].plugins?.push({ plugin: "idle" }),
    );
    assert.deepEqual([attached.status, attached.body.faults.length], [422, 1]);
  });

  await t.test("keys are replaced by pushing anew between two changes", async () => {
    assert.equal((await configure(gateway, trust(laptop))).status, 422);
    assert.equal((await configure(gateway, trust(release, laptop))).status, 200);
    const header = base64(keys.laptop.sign(FIRST));
    const answer = await upload(gateway, { bytes: FIRST, header });
    assert.deepEqual([answer.status, answer.signed_by], [200, "laptop"]);
    assert.equal((await configure(gateway, trust(laptop))).status, 200);
    const old = await upload(gateway, { bytes: MODULE, header: line(keys) });
    assert.equal(old.code, "signature_unknown_key");
    assert.equal(await statusOf(gateway), 200);
  });

  await t.test("without keys nothing is asked for", async () => {
    const removed = await configure(gateway, (next) => void delete next.trusted_plugin_keys);
    assert.equal(removed.status, 200, removed.text);
    assert.equal((await upload(gateway, { bytes: MODULE })).status, 201);
  });
});
