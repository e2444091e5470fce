// The part of the schema about keeping requests to try plugins on.

import { Type } from "typebox";
import type { Static } from "typebox";
import { HeaderName, closed } from "./schema-parts.ts";

export const Record = Type.Object(
  {
    requests: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 10_000,
        default: 1_000,
        description: "the last so many calls of plugins on this route, in each worker",
      }),
    ),
    body: Type.Optional(
      Type.Boolean({ default: false, description: "also what plugins see of bodies" }),
    ),
    redact: Type.Optional(
      Type.Array(HeaderName, {
        maxItems: 64,
        description:
          "headers, query parameters and claims to leave out, beside those that sound like secrets",
      }),
    ),
  },
  {
    ...closed,
    description: "keeps requests and decisions in memory, to try other versions of plugins on them",
  },
);

export type RecordConfig = Static<typeof Record>;
