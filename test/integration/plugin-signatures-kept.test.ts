// Signatures after the upload: what somebody edits in the data directory between two starts does not run,
// whatever the registry says of it; seeds bring their signatures; and the commands make keys, sign and push.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import type { Config } from "../../gateway/config/schema.ts";
import { runCommand, startGateway, temporaryFolder } from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";
import { NAME, line, makeKeys, trustedKeys } from "../support/signature-cases.ts";
import { manifestPlugin, namelessPlugin } from "../support/signed-plugin.ts";

const MODULE = manifestPlugin(NAME, "1.2.0");
const OTHER = manifestPlugin(NAME, "1.2.0", "somebody's own");

const configOf = (keys: Config["trusted_plugin_keys"]): Config => ({
  listeners: [{ name: "http", address: "127.0.0.1:0" }],
  routes: [
    {
      name: "closed",
      plugins: [{ plugin: NAME }],
      match: { paths: [{ prefix: "/closed" }] },
      echo: true,
    },
    { name: "open", plugins: [{ plugin: NAME, fail_mode: "open" }], echo: true },
  ],
  ...(keys === undefined ? {} : { trusted_plugin_keys: keys }),
});

/** The statuses of the route whose plugin must run and of the one whose plugin may fail. */
async function statuses(gateway: RunningGateway): Promise<number[]> {
  const base = `http://127.0.0.1:${gateway.port()}`;
  const answers = [await fetch(`${base}/closed`), await fetch(`${base}/open`)];
  return answers.map(({ status }) => status);
}

async function stop(gateway: RunningGateway): Promise<void> {
  gateway.process.kill("SIGTERM");
  assert.equal(await gateway.exited, 0, gateway.stderr());
}

/** A folder where authz 1.2.0 was seeded, signed and served, then stopped. */
async function servedFolder(t: TestContext, keys = makeKeys()) {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, `${NAME}.wasm.sig`), line(keys, "1.2.0", MODULE));
  const config = configOf(trustedKeys(keys));
  const gateway = await startGateway(t, { folder, config, plugins: { [NAME]: MODULE } });
  assert.deepEqual(await statuses(gateway), [200, 200]);
  const { body } = await gateway.admin("GET", `/admin/plugins/${NAME}`);
  assert.equal(body.versions[0].signed_by, "release");
  await stop(gateway);
  return { folder, config, keys, registry: join(folder, "var/plugins/registry.json") };
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

type Registry = {
  plugins: { name: string; current: string; versions: Record<string, unknown>[] }[];
};

function edit(
  file: string,
  change: (version: Record<string, unknown>, plugin: Registry["plugins"][0]) => void,
) {
  const registry = JSON.parse(readFileSync(file, "utf8")) as Registry;
  const [plugin] = registry.plugins;
  change(plugin.versions[0], plugin);
  writeFileSync(file, JSON.stringify(registry));
}

test("what was edited on disk does not run, and its fail_mode decides", async (t) => {
  const served = await servedFolder(t);
  const { config, folder, keys, registry } = served;
  const good = readFileSync(registry, "utf8");
  const modules = join(folder, "var/plugins/modules");
  const moduleFile = join(modules, `${sha256(MODULE)}.wasm`);
  writeFileSync(join(modules, `${sha256(OTHER)}.wasm`), OTHER);
  const kept = { format: "sallyport", keyId: "0", keyName: "release" };
  const cases: [string, () => void, RegExp][] = [
    ["nothing", () => {}, /^$/],
    [
      "the signature taken out",
      () => edit(registry, (version) => delete version["signature"]),
      /signature_missing/,
    ],
    [
      "a signature that is none",
      () => edit(registry, (version) => (version["signature"] = "yes")),
      /signature_missing/,
    ],
    [
      "a signature of a number",
      () => edit(registry, (version) => (version["signature"] = { text: 7 })),
      /signature_missing/,
    ],
    [
      "a text that is none",
      () => edit(registry, (version) => (version["signature"] = { ...kept, text: "yes" })),
      /signature_malformed/,
    ],
    [
      "a stranger's signature with the key's name",
      () =>
        edit(registry, (version) => {
          version["signature"] = { ...kept, text: line(makeKeys(), "1.2.0", MODULE) };
        }),
      /signature_unknown_key/,
    ],
    [
      "another module, by its own digest",
      () => edit(registry, (version) => (version["digest"] = `sha256:${sha256(OTHER)}`)),
      /signature_invalid/,
    ],
    [
      "another version's number",
      () =>
        edit(registry, (version, plugin) => {
          version["version"] = plugin.current = "9.0.0";
        }),
      /signature_wrong_version/,
    ],
    ["the module's file", () => writeFileSync(moduleFile, OTHER), /has changed on disk/],
  ];
  for (const [what, tamper, said] of cases) {
    await t.test(what, async (t) => {
      writeFileSync(registry, good);
      writeFileSync(moduleFile, MODULE);
      tamper();
      const gateway = await startGateway(t, { folder, config });
      const isWhole = what === "nothing";
      assert.deepEqual(await statuses(gateway), isWhole ? [200, 200] : [503, 200]);
      if (!isWhole) assert.match(gateway.stderr(), said);
      await stop(gateway);
    });
  }

  await t.test("pushing it anew mends it, without a restart", async (t) => {
    writeFileSync(moduleFile, MODULE);
    writeFileSync(registry, good);
    edit(registry, (version) => delete version["signature"]);
    const gateway = await startGateway(t, { folder, config });
    assert.deepEqual(await statuses(gateway), [503, 200]);
    // What does not run already is no reason to refuse another change.
    const changed = await gateway.admin("PATCH", "/admin/routes/open", { timeout_ms: 1000 });
    assert.equal(changed.status, 200, changed.text);
    writeFileSync(join(folder, "again.wasm"), MODULE);
    writeFileSync(join(folder, "again.wasm.sig"), line(keys, "1.2.0", MODULE));
    const env = { SALLYPORT_ADMIN: gateway.adminUrl, SALLYPORT_KEY: gateway.key };
    const pushed = await runCommand(t, ["plugin", "push", "again.wasm"], { cwd: folder, env });
    assert.equal(pushed.code, 0, pushed.stderr);
    assert.deepEqual(await statuses(gateway), [200, 200]);
    await stop(gateway);
  });
});

test("a limit that a plugin set itself is read from its signed bytes, not from the registry", async (t) => {
  const { config, folder, registry } = await servedFolder(t);
  // An unknown input would end every call, if it were believed.
  edit(registry, (version) => {
    version["manifest"] = { ...(version["manifest"] as object), needs: ["nothing-like-it"] };
  });
  const gateway = await startGateway(t, { folder, config });
  assert.deepEqual(await statuses(gateway), [200, 200]);
});

test("a key that is gone from the file takes its plugins along", async (t) => {
  const { config, folder } = await servedFolder(t);
  const gateway = await startGateway(t, {
    folder,
    config: { ...config, trusted_plugin_keys: trustedKeys(makeKeys()) },
  });
  assert.deepEqual(await statuses(gateway), [503, 200]);
  assert.match(gateway.stderr(), /authz@1\.2\.0 cannot be loaded: signature_unknown_key/);
});

test("seeds are asked for signatures like all others, and a broken one is told at the start", async (t) => {
  const keys = makeKeys();
  const folder = temporaryFolder(t);
  const options = { folder, config: configOf(trustedKeys(keys)), plugins: { [NAME]: MODULE } };
  const unsigned = await startGateway(t, options);
  assert.deepEqual(await statuses(unsigned), [503, 200]);
  await stop(unsigned);
  writeFileSync(join(folder, `${NAME}.wasm.sig`), "nothing\n");
  await assert.rejects(
    startGateway(t, options),
    /authz\.wasm\.sig is no signature: signature_malformed/,
  );
  // One that comes later belongs to the bytes that are there.
  writeFileSync(join(folder, `${NAME}.wasm.sig`), line(keys, "1.2.0", MODULE));
  assert.deepEqual(await statuses(await startGateway(t, options)), [200, 200]);
});

test("a header that is sent twice is one too many", async (t) => {
  const gateway = await startGateway(t, {
    config: { listeners: [{ name: "http", address: "127.0.0.1:0" }] },
  });
  const signature = line(makeKeys(), "1.2.0", MODULE);
  const headers = { "x-api-key": gateway.key, "x-plugin-signature": [signature, signature] };
  const text = await new Promise<string>((settle, reject) => {
    const request = http.request(`${gateway.adminUrl}/admin/plugins/load`, {
      method: "POST",
      headers,
    });
    request.on("error", reject);
    request.on("response", (response) => {
      response.setEncoding("utf8");
      let text = "";
      response.on("data", (chunk: string) => (text += chunk));
      response.on("end", () => settle(text));
    });
    request.end(MODULE);
  });
  assert.match(text, /"signature_repeated"/);
});

test("keygen, sign and push: from no key to a plugin that a gateway trusts", async (t) => {
  const folder = temporaryFolder(t);
  const run = async (args: string[], env: Record<string, string> = {}) =>
    await runCommand(t, ["plugin", ...args], { cwd: folder, env });
  const made = await run(["keygen", "--out", "release"]);
  assert.equal(made.code, 0, made.stderr);
  assert.equal(statSync(join(folder, "release.key")).mode & 0o777, 0o600);
  const [, key] = /\{ name: "release", key: "(\S+)" \}/.exec(made.stdout) ?? [];
  const secret = readFileSync(join(folder, "release.key"), "utf8");
  const again = await run(["keygen", "--out", "release"]);
  assert.equal(again.code, 2);
  assert.match(again.stderr, /release\.key cannot be written: is there already/);
  assert.equal(readFileSync(join(folder, "release.key"), "utf8"), secret);

  const config = configOf([{ name: "release", key }]);
  config.routes = [{ name: "all", echo: true }];
  const gateway = await startGateway(t, { config });
  const env = { SALLYPORT_ADMIN: gateway.adminUrl, SALLYPORT_KEY: gateway.key };
  writeFileSync(join(folder, "authz.wasm"), MODULE);
  const unsigned = await run(["push", "authz.wasm"], env);
  assert.equal(unsigned.code, 1);
  assert.match(unsigned.stderr, /^error: signature_missing: /m);

  const signed = await run(["sign", "authz.wasm", "--key", "release.key"]);
  assert.equal(signed.code, 0, signed.stderr);
  assert.match(
    signed.stdout,
    /^signed authz@1\.2\.0, sha256:[0-9a-f]{64}, with key [0-9a-f]{16}$/m,
  );
  const [, push] = /^push both: sallyport plugin (.*)$/m.exec(signed.stdout) ?? [];
  const pushed = await run([...push.split(" "), "--attach", "all"], env);
  assert.equal(pushed.code, 0, pushed.stderr);
  assert.match(pushed.stdout, /^authz@1\.2\.0 stored and live in \S+ ms, signed by release$/m);
  assert.match((await run(["list"], env)).stdout, /^authz +1\.2\.0 +1 +release +all$/m);
  assert.match((await run(["versions", NAME], env)).stdout, /^1\.2\.0 .* release +all +sha256:/m);

  await t.test("a module without a manifest is signed as what is said", async () => {
    writeFileSync(join(folder, "plain.wasm"), namelessPlugin());
    const lacking = await run(["sign", "plain.wasm", "--key", "release.key"]);
    assert.match(lacking.stderr, /has no manifest; say what it is: --name NAME --as VERSION/);
    const bad = await run([
      "sign",
      "plain.wasm",
      "--key",
      "release.key",
      "--name",
      "A b",
      "--as",
      "1",
    ]);
    assert.match(bad.stderr, /A b@1 is not a name and a version/);
    const good = await run([
      "sign",
      "plain.wasm",
      "--key",
      "release.key",
      "--name",
      "plain",
      "--as",
      "3.0.0",
    ]);
    assert.match(
      good.stdout,
      /push both: sallyport plugin push plain\.wasm --name plain --as 3\.0\.0$/m,
    );
    const live = await run(["push", "plain.wasm"], env);
    assert.match(live.stdout, /^plain@3\.0\.0 stored and live/m, live.stderr);
  });

  await t.test("both have help that fits on a screen, with an example", async () => {
    for (const word of ["keygen", "sign"]) {
      const { code, stdout } = await run([word, "--help"]);
      assert.equal(code, 0);
      assert.ok(stdout.trimEnd().split("\n").length <= 25);
      assert.match(stdout, new RegExp(`^Example: sallyport plugin ${word} `, "m"));
    }
  });

  await t.test("what cannot sign or be sent says so", async () => {
    writeFileSync(join(folder, "open.key"), secret, { mode: 0o644 });
    writeFileSync(join(folder, "no.key"), "no key", { mode: 0o600 });
    writeFileSync(join(folder, "two.wasm"), MODULE);
    writeFileSync(join(folder, "two.wasm.sig"), "x");
    writeFileSync(join(folder, "two.wasm.minisig"), "x");
    writeFileSync(join(folder, "big.sig"), "x".repeat(5000));
    for (const [args, code, said] of [
      [
        ["sign", "authz.wasm", "--key", "open.key"],
        2,
        /open\.key is open to others \(mode 644\); chmod 600/,
      ],
      [["sign", "authz.wasm", "--key", "no.key"], 2, /no\.key is no private key of Ed25519/],
      [["sign", "authz.wasm", "--key", "none.key"], 2, /none\.key cannot be read: ENOENT/],
      [["sign", "no.key", "--key", "release.key"], 1, /no\.key would be refused: invalid_module/],
      [["keygen", "--out", "Release"], 2, /--out: .*Release/],
      [["keygen", "--out", "none/release"], 2, /none\/release\.key cannot be written: ENOENT/],
      [
        ["push", "two.wasm"],
        2,
        /two\.wasm\.sig and two\.wasm\.minisig are there; say which: --signature/,
      ],
      [["push", "two.wasm", "--signature", "two.wasm.sig"], 1, /signature_malformed/],
      [["push", "two.wasm", "--signature", "none.sig"], 2, /none\.sig cannot be read/],
      [["push", "two.wasm", "--signature", "big.sig"], 2, /big\.sig is too large for a signature/],
    ] as const) {
      const done = await run([...args], env);
      assert.equal(done.code, code, `${args.join(" ")}: ${done.stderr}`);
      assert.match(done.stderr, said);
    }
  });
});
