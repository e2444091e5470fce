// The Sallyport SDK for AssemblyScript. A plugin is a class that is made of its configuration, once,
// and then decides about requests and responses. Values are read when they are asked for, so a plugin
// pays only for what it looks at. abi.md has the bounds of everything here.
//
//   class Tier extends Policy {
//     wanted: string;
//     constructor(config: Table) {
//       super();
//       this.wanted = config.at("tier").text("gold");
//     }
//     onRequest(): Decision {
//       if (Request.header("x-tier") == this.wanted) return Decision.pass();
//       return Decision.deny(403, "Not for you.\n").because("another tier");
//     }
//   }
//   export function on_config(): i32 { return checkConfig<Tier>(); }
//   export function on_request(): i32 { return decideRequest<Tier>(); }

export { nowS } from "./clock";
export { Config, Field, Table, asciiLower, isToken } from "./config";
export { Decision, ResponseEdits } from "./decision";
export { Kv, callHttp } from "./grants";
export { fromHex, hmacSha256, isSame, sha256, toHex, utf8 } from "./hash";
export { Json, Kind, parseJson } from "./json";
export { Log } from "./log";
export { Policy, checkConfig, decideRequest, editResponse } from "./policy";
export { Request, Response } from "./request";
