// The configuration of the admin API.

import Type from "typebox";
import type { Static } from "typebox";
import { LIMITS } from "../base/limits.ts";
import { Address, Name, closed } from "./schema-parts.ts";

const AdminKey = Type.Object(
  {
    name: Name,
    role: Type.Enum(["read", "deploy", "admin"], {
      description: "read: every GET but profiles; deploy: plugins too; admin: everything",
    }),
    hash: Type.String({
      pattern: "^sha256:[0-9a-f]{64}$",
      description: "sha256:<64 hex digits>",
      secret: true,
    }),
  },
  closed,
);

/** Where it listens, and who may use it. */
export const Admin = Type.Object(
  {
    listen: Type.Optional(Address),
    keys: Type.Optional(
      Type.Array(AdminKey, {
        maxItems: LIMITS.adminKeysMax,
        description: "beside the one in data_dir/admin.key; sallyport key new makes them",
      }),
    ),
  },
  closed,
);

export type AdminKeyConfig = Static<typeof AdminKey>;
