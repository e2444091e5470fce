// The OpenAPI 3.1 document, made from the table of operations and the schema of the configuration.

import { allows } from "../../gateway/config/admin-keys.ts";
import { ConfigSchema } from "../../gateway/config/schema.ts";
import type { ApiRoute } from "./route.ts";

/** The document for a table of operations. */
export function openApi(routes: readonly ApiRoute[], version: string): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    (paths[route.path] ??= {})[route.method.toLowerCase()] = operation(route);
  }
  return {
    openapi: "3.1.0",
    info: { title: "Sallyport admin API", version },
    paths,
    components: {
      securitySchemes: {
        key: { type: "apiKey", in: "header", name: "X-API-KEY" },
        bearer: { type: "http", scheme: "bearer" },
      },
      schemas: {
        Config: ConfigSchema,
        Problem: {
          type: "object",
          required: ["type", "title", "status", "code", "detail"],
          properties: {
            type: { type: "string" },
            title: { type: "string" },
            status: { type: "integer" },
            code: { type: "string" },
            detail: { type: "string" },
            faults: { type: "array", items: { type: "object" } },
          },
        },
      },
    },
  };
}

function operation(route: ApiRoute): Record<string, unknown> {
  const names = [...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
  const parameters = [
    ...names.map((name) => ({ name, in: "path", required: true, schema: { type: "string" } })),
    ...(route.query ?? []).map((name) => ({ name, in: "query", schema: { type: "string" } })),
  ];
  const content = {
    "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } },
  };
  return {
    summary: route.summary,
    description: accessText(route),
    "x-role": route.role,
    operationId: `${route.method.toLowerCase()}${route.path.replaceAll(/[^A-Za-z]+/g, "_")}`,
    parameters,
    security: route.role === "none" ? [] : [{ key: [] }, { bearer: [] }],
    ...(route.body === undefined
      ? {}
      : { requestBody: { required: true, content: { [route.body.type]: {} } } }),
    responses: { "2XX": { description: "done" }, default: { description: "refused", content } },
  };
}

function accessText({ role }: ApiRoute): string {
  if (role === "none") return "Needs no key.";
  const enough = (["read", "deploy", "admin"] as const).filter((each) => allows(each, role));
  return `Needs a key of the role ${enough.join(" or ")}.`;
}
