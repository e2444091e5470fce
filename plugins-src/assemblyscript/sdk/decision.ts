// What a plugin may decide, as values that a phase returns. Texts cross to the host when they are
// given; nothing of a decision that is dropped ever reaches it.

import {
  addResponseHeader, errorSet, reason, removeRequestHeader, removeResponseHeader, respond,
  respondHeader, setPath, setRequestHeader, setResponseHeader, valueSet,
} from "./host";
import { give } from "./text";

const enum What {
  SetRequest,
  RemoveRequest,
  SetResponse,
  AddResponse,
  RemoveResponse,
  AnswerHeader,
  Path,
  Value,
}

class Edit {
  next: Edit | null = null;
  constructor(readonly what: What, readonly name: u64, readonly value: u64) {}
}

/** Edits in order, each with the handles of its name and its value. */
class Edits {
  first: Edit | null = null;
  last: Edit | null = null;

  push(what: What, name: string, value: string): void {
    const edit = new Edit(what, give(name), give(value));
    const last = this.last;
    if (last === null) this.first = edit;
    else last.next = edit;
    this.last = edit;
  }

  carryOut(): void {
    let next = this.first;
    while (next !== null) {
      const edit = next;
      next = edit.next;
      switch (edit.what) {
        case What.SetRequest: setRequestHeader(edit.name, edit.value); break;
        case What.RemoveRequest: removeRequestHeader(edit.name); break;
        case What.SetResponse: setResponseHeader(edit.name, edit.value); break;
        case What.AddResponse: addResponseHeader(edit.name, edit.value); break;
        case What.RemoveResponse: removeResponseHeader(edit.name); break;
        case What.AnswerHeader: respondHeader(edit.name, edit.value); break;
        case What.Path: setPath(edit.name); break;
        default: valueSet(edit.name, edit.value);
      }
    }
  }
}

/** What becomes of a request. Its methods answer the decision itself. */
export class Decision {
  private status: i32 = 0;
  private body: u64 = 0;
  private failure: u64 = 0;
  private why: u64 = 0;
  private edits: Edits = new Edits();

  /** On to the next plugin, and at last to the upstream. */
  static pass(): Decision { return new Decision(); }

  /** Answers here; the request does not reach the upstream. */
  static respond(status: i32, body: string): Decision {
    const decision = new Decision();
    decision.status = status;
    decision.body = give(body);
    return decision;
  }

  /** The same, where it is a refusal; say why with `because`. */
  static deny(status: i32, body: string): Decision { return Decision.respond(status, body); }

  /** Fails the call: the attachment's fail_mode decides what becomes of the request. */
  static fail(message: string): Decision {
    const decision = new Decision();
    decision.failure = give(message);
    return decision;
  }

  /** For the log and metrics, never for the client. */
  because(text: string): Decision {
    this.why = give(text);
    return this;
  }

  /** A header of the answer of `respond`; a name may come again. */
  header(name: string, value: string): Decision { return this.edit(What.AnswerHeader, name, value); }

  /** Replaces the request's headers of this name on their way to the upstream. */
  setRequestHeader(name: string, value: string): Decision { return this.edit(What.SetRequest, name, value); }

  removeRequestHeader(name: string): Decision { return this.edit(What.RemoveRequest, name, ""); }

  /** Replaces the headers of this name of the response, whoever makes it. */
  setResponseHeader(name: string, value: string): Decision { return this.edit(What.SetResponse, name, value); }

  /** One more header of this name, as Set-Cookie needs. */
  addResponseHeader(name: string, value: string): Decision { return this.edit(What.AddResponse, name, value); }

  removeResponseHeader(name: string): Decision { return this.edit(What.RemoveResponse, name, ""); }

  /** The path to the upstream, in normal form; the route stays. */
  setPath(path: string): Decision { return this.edit(What.Path, path, ""); }

  /** A value for later plugins and the access log. */
  setValue(name: string, value: string): Decision { return this.edit(What.Value, name, value); }

  private edit(what: What, name: string, value: string): Decision {
    this.edits.push(what, name, value);
    return this;
  }

  /** For the SDK: tells the host, and answers what an export returns. */
  carryOut(): i32 {
    if (this.failure != 0) {
      errorSet(this.failure);
      return 1;
    }
    if (this.why != 0) reason(this.why);
    this.edits.carryOut();
    if (this.status != 0) respond(this.status, this.body);
    return 0;
  }
}

/** What becomes of a response's headers. Its methods answer the edits themselves. */
export class ResponseEdits {
  private failure: u64 = 0;
  private edits: Edits = new Edits();

  static none(): ResponseEdits { return new ResponseEdits(); }

  /** Fails the call: the attachment's fail_mode decides what becomes of the response. */
  static fail(message: string): ResponseEdits {
    const edits = new ResponseEdits();
    edits.failure = give(message);
    return edits;
  }

  /** Replaces the headers of this name. */
  setHeader(name: string, value: string): ResponseEdits { return this.edit(What.SetResponse, name, value); }

  /** One more header of this name. */
  addHeader(name: string, value: string): ResponseEdits { return this.edit(What.AddResponse, name, value); }

  removeHeader(name: string): ResponseEdits { return this.edit(What.RemoveResponse, name, ""); }

  /** A value for later plugins and the access log. */
  setValue(name: string, value: string): ResponseEdits { return this.edit(What.Value, name, value); }

  private edit(what: What, name: string, value: string): ResponseEdits {
    this.edits.push(what, name, value);
    return this;
  }

  /** For the SDK: tells the host, and answers what an export returns. */
  carryOut(): i32 {
    if (this.failure != 0) {
      errorSet(this.failure);
      return 1;
    }
    this.edits.carryOut();
    return 0;
  }
}
