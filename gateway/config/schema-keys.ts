// The configuration of who may sign plugins.

import Type from "typebox";
import { Name, closed } from "./schema-parts.ts";

const TrustedPluginKey = Type.Object(
  {
    name: Name,
    key: Type.String({
      minLength: 1,
      maxLength: 8192,
      description:
        "Ed25519 (PEM, or 32 bytes in base64), minisign (RW...), or P-256 (PEM) of cosign",
    }),
  },
  closed,
);

/** An empty list would trust nobody, or everybody: it is refused. */
export const TrustedPluginKeys = Type.Array(TrustedPluginKey, {
  minItems: 1,
  maxItems: 64,
  description: "no plugin runs that none of these signed; left out: signatures are not asked for",
});
