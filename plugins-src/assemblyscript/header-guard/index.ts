// Lets a request pass only with the right value in a header. For demonstration: real keys belong to
// the built-in key-auth, which keeps hashes and not the keys.

import { Config, Request, Values, deny } from "../sdk/index";

export function on_config(): i32 {
  // The host knows what a header's name is: it fails the call on any other text, and drops what the
  // check of a configuration decides.
  Request.removeHeader(Config.getOr("header", "x-demo-key"));
  return 0;
}

export function on_request(): i32 {
  const name = Config.getOr("header", "x-demo-key");
  const wanted = Config.getOr("value", "open sesame");
  const given = Request.header(name);
  if (given === null) {
    deny(403, "The gate is closed: send the header " + name + ".\n", name + " is missing");
  } else if (given != wanted) {
    deny(403, "The gate is closed: wrong " + name + ".\n", name + " has a wrong value");
  } else {
    Request.removeHeader(name);
    Values.set("gate", "open");
  }
  return 0;
}
