// gRPC through the gateway with a real client and a real server: all four kinds of calls, trailers,
// deadlines, cancellation, and the gateway's own refusals as a status that gRPC clients understand.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import * as grpc from "@grpc/grpc-js";
import type { RouteConfig } from "../../gateway/config/schema.ts";
import { until } from "../support/origin-user.ts";
import { startEdge } from "../support/edge.ts";

const bytes = { serialize: (value: Buffer) => value, deserialize: (value: Buffer) => value };
const method = (path: string, requestStream: boolean, responseStream: boolean) => ({
  path,
  requestStream,
  responseStream,
  requestSerialize: bytes.serialize,
  requestDeserialize: bytes.deserialize,
  responseSerialize: bytes.serialize,
  responseDeserialize: bytes.deserialize,
});
const SERVICE = {
  unary: method("/test.Echo/Unary", false, false),
  many: method("/test.Echo/Many", false, true),
  collect: method("/test.Echo/Collect", true, false),
  both: method("/test.Echo/Both", true, true),
  never: method("/test.Echo/Never", false, false),
};

type Client = grpc.Client & {
  unary(
    request: Buffer,
    metadata: grpc.Metadata,
    options: grpc.CallOptions,
    done: (error: grpc.ServiceError | null, value?: Buffer) => void,
  ): grpc.ClientUnaryCall;
  never: Client["unary"];
  many(request: Buffer): grpc.ClientReadableStream<Buffer>;
  collect(done: (error: Error | null, value?: Buffer) => void): grpc.ClientWritableStream<Buffer>;
  both(): grpc.ClientDuplexStream<Buffer, Buffer>;
};

async function startServer(t: TestContext): Promise<{ address: string; cancelled: () => number }> {
  let cancelled = 0;
  const server = new grpc.Server();
  server.addService(SERVICE, {
    unary: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
      if (call.request.toString() === "fail") {
        done({ code: grpc.status.FAILED_PRECONDITION, details: "not so" });
        return;
      }
      const trailer = new grpc.Metadata();
      trailer.set("x-trailer", "here");
      done(null, call.request, trailer);
    },
    many: (call: grpc.ServerWritableStream<Buffer, Buffer>) => {
      for (let i = 0; i < 100; i++) call.write(Buffer.from(String(i)));
      call.end();
    },
    collect: (
      call: grpc.ServerReadableStream<Buffer, Buffer>,
      done: grpc.sendUnaryData<Buffer>,
    ) => {
      let total = 0;
      call.on("data", (chunk: Buffer) => (total += chunk.length));
      call.on("end", () => done(null, Buffer.from(String(total))));
    },
    both: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
      call.on("data", (chunk: Buffer) => call.write(chunk));
      call.on("end", () => call.end());
    },
    never: (call: grpc.ServerUnaryCall<Buffer, Buffer>) => {
      call.on("cancelled", () => cancelled++);
    },
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  t.after(() => server.forceShutdown());
  return { address: `127.0.0.1:${port}`, cancelled: () => cancelled };
}

async function connect(t: TestContext, address: string, route: Partial<RouteConfig> = {}) {
  const edge = await startEdge(t, {
    http2: true,
    config: {
      upstreams: [{ name: "origin", protocol: "http2", targets: [{ address }] }],
      routes: [{ name: "all", upstream: "origin", ...route }],
    },
  });
  const Constructor = grpc.makeGenericClientConstructor(SERVICE, "Echo");
  const client = new Constructor(`127.0.0.1:${edge.port}`, grpc.credentials.createInsecure());
  t.after(() => client.close());
  return { client: client as unknown as Client, edge };
}

type Unary = { error: grpc.ServiceError | null; value: string; trailer: grpc.MetadataValue[] };

function unary(
  client: Client,
  name: "unary" | "never",
  text: string,
  options: grpc.CallOptions = {},
): Promise<Unary> {
  return new Promise((resolve) => {
    let trailer: grpc.MetadataValue[] = [];
    const call = client[name](Buffer.from(text), new grpc.Metadata(), options, (error, value) =>
      setImmediate(() => resolve({ error, value: value?.toString() ?? "", trailer })),
    );
    call.on("status", ({ metadata }) => (trailer = metadata.get("x-trailer")));
  });
}

test("unary calls, their trailers, and the server's own status", async (t) => {
  const { address } = await startServer(t);
  const { client } = await connect(t, address);
  const good = await unary(client, "unary", "hello");
  assert.deepEqual([good.error, good.value, good.trailer], [null, "hello", ["here"]]);
  const bad = await unary(client, "unary", "fail");
  assert.equal(bad.error?.code, grpc.status.FAILED_PRECONDITION);
  assert.equal(bad.error?.details, "not so");
});

test("streams from the server, from the client, and in both directions", async (t) => {
  const { address } = await startServer(t);
  const { client } = await connect(t, address);
  const received: string[] = [];
  for await (const chunk of client.many(Buffer.from("go"))) received.push(String(chunk));
  assert.equal(received.length, 100);
  const total = await new Promise<string>((resolve, reject) => {
    const call = client.collect((error, value) => {
      if (error === null) resolve(String(value));
      else reject(error);
    });
    for (let i = 0; i < 50; i++) call.write(Buffer.alloc(10_000));
    call.end();
  });
  assert.equal(total, "500000");
});

test("a thousand streams in both directions at once", async (t) => {
  const { address } = await startServer(t);
  const { client } = await connect(t, address);
  const one = async (i: number) => {
    const call = client.both();
    const got: string[] = [];
    call.on("data", (chunk: Buffer) => {
      got.push(chunk.toString());
      if (got.length < 5) call.write(Buffer.from(`${i}-${got.length}`));
      else call.end();
    });
    call.write(Buffer.from(`${i}-0`));
    const status = await new Promise<grpc.StatusObject>((resolve) => call.on("status", resolve));
    assert.equal(status.code, grpc.status.OK, status.details);
    assert.deepEqual(
      got,
      Array.from({ length: 5 }, (_, k) => `${i}-${k}`),
    );
  };
  await Promise.all(Array.from({ length: 1_000 }, (_, i) => one(i)));
});

test("deadlines are kept by the gateway as well, and a call that is given up ends at the server", async (t) => {
  const { address, cancelled } = await startServer(t);
  const { client, edge } = await connect(t, address);
  const late = await unary(client, "never", "x", { deadline: Date.now() + 200 });
  assert.equal(late.error?.code, grpc.status.DEADLINE_EXCEEDED);
  await until(() => cancelled() === 1, "the end of the call at the server");
  await until(() => edge.finished.length === 1, "the end of the call at the gateway");
  const short = await connect(t, address, { timeout_ms: 150 });
  const { error } = await unary(short.client, "never", "x");
  assert.equal(error?.code, grpc.status.DEADLINE_EXCEEDED, "the route's time");
});

test("the gateway's own refusals are a status of gRPC", async (t) => {
  const nobody = await connect(t, "127.0.0.1:1");
  assert.equal((await unary(nobody.client, "unary", "x")).error?.code, grpc.status.UNAVAILABLE);
  const { address } = await startServer(t);
  const cases: readonly (readonly [Partial<RouteConfig>, grpc.status])[] = [
    [{ match: { paths: [{ prefix: "/other" }] } }, grpc.status.UNIMPLEMENTED],
    [{ plugins: [{ plugin: "key-auth" }] }, grpc.status.UNAUTHENTICATED],
  ];
  for (const [route, code] of cases) {
    const { client } = await connect(t, address, route);
    const { error } = await unary(client, "unary", "x");
    assert.equal(error?.code, code, error?.details ?? "");
    assert.ok((error?.details.length ?? 0) > 5);
  }
});
