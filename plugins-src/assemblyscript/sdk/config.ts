// The attachment's configuration, read by key and type. What is wrong is gathered, all of it, in
// sentences that name the key and never show a value: a value may be a secret. Keys that nobody asked
// for are wrong too.

import { configGet } from "./host";
import { Json, Kind } from "./json";
import { digits, give, take } from "./text";

/**
 * One key at a time, for plugins that need no more: text as it is, everything else as JSON, null when
 * it is missing or empty. Nothing is checked; a `Table` knows types and tells of unknown keys.
 */
export namespace Config {
  export function get(key: string): string | null { return take(configGet(give(key))); }
  export function getOr(key: string, fallback: string): string {
    const value = get(key);
    return value === null ? fallback : value;
  }
}

/** Sentences that are told; the others are counted. */
const FAULTS_MAX: i32 = 12;

export class Faults {
  private told: string = "";
  private count: i32 = 0;
  /** The table that was read last; the others follow it. */
  private tables: Table | null = null;

  add(sentence: string): void {
    if (this.count > 0 && this.count < FAULTS_MAX) this.told += "; ";
    if (this.count++ < FAULTS_MAX) this.told += sentence;
  }

  /** A table whose keys are to be checked in the end. */
  watch(table: Table): Table {
    table.next = this.tables;
    this.tables = table;
    return table;
  }

  /** All that is wrong, as one text; empty when nothing is. */
  all(): string {
    let table = this.tables;
    while (table !== null) {
      table.checkKeys();
      table = table.next;
    }
    return this.count <= FAULTS_MAX ? this.told : this.told + "; and " + digits(this.count - FAULTS_MAX) + " more";
  }
}

/** An object of the configuration: the whole of it, or one that a key holds. */
export class Table {
  /** For the SDK. */
  next: Table | null = null;
  private asked: Asked | null = null;

  /** `name` is `rules[2]`; empty for the whole. */
  constructor(private readonly value: Json, private readonly name: string, readonly faults: Faults) {}

  /** The field of a key, to be read as one type. */
  at(key: string): Field {
    this.asked = new Asked(key, this.asked);
    return new Field(this, key, this.value.get(key));
  }

  has(key: string): bool { return this.value.get(key) !== null; }

  /** Notes that the value of `key` is wrong: "`key` must start with a slash". */
  fault(key: string, sentence: string): void { this.faults.add(this.path(key) + " " + sentence); }

  /** For the SDK: the key's name from the configuration's root on. */
  path(key: string): string { return this.name == "" ? key : this.name + "." + key; }

  /** For the SDK: notes the keys that were not asked for. */
  checkKeys(): void {
    const object = this.value;
    let key = object.first;
    while (key !== null) {
      let names = "";
      let asked = this.asked;
      while (asked !== null && !key.isText(asked.key)) {
        names = asked.key + (names == "" ? "" : ", ") + names;
        asked = asked.next;
      }
      if (asked === null) this.fault(key.text.substring(0, 60), "is not one of the keys " + names);
      const value = key.nextIn(object);
      key = value === null ? null : value.nextIn(object);
    }
  }
}

class Asked {
  constructor(readonly key: string, readonly next: Asked | null) {}
}

/** What a key holds. A missing one is its default; one of another type is a fault, and its default. */
export class Field {
  constructor(private readonly table: Table, private readonly key: string, private readonly value: Json | null) {}

  /** Notes that a missing key is wrong, and an empty list. */
  required(): Field {
    if (this.value === null) this.table.fault(this.key, "is missing");
    return this.filled();
  }

  /** Notes that an empty list is wrong: one that allows nobody reads much like one that is left out. */
  filled(): Field {
    const value = this.value;
    if (value !== null && value.kind == Kind.List && value.first === null) {
      this.table.fault(this.key, "must not be empty");
    }
    return this;
  }

  text(fallback: string): string {
    const value = this.of(Kind.Text, "a text");
    return value === null ? fallback : value.text;
  }

  /** A header's name, in lower case; what plugins may ask for and set, but for the gateway's own. */
  headerName(fallback: string): string {
    const value = this.of(Kind.Text, "a header's name");
    if (value === null) return fallback;
    const name = value.text;
    if (!isToken(name)) this.wrong("a header's name");
    return asciiLower(name);
  }

  /** The place in `allowed` of a text that must be one of these; the first is the default. */
  choice(allowed: string[]): i32 {
    const must = "one of " + allowed.join(", ");
    const value = this.of(Kind.Text, must);
    if (value === null) return 0;
    const place = allowed.indexOf(value.text);
    if (place == -1) this.wrong(must);
    return max(place, 0);
  }

  number(fallback: f64): f64 {
    const value = this.of(Kind.Number, "a number");
    return value === null ? fallback : value.number;
  }

  whole(fallback: i32, least: i32, most: i32): i32 {
    const must = "a whole number from " + digits(least) + " to " + digits(most);
    const value = this.of(Kind.Number, must);
    if (value === null) return fallback;
    const number = value.number;
    if (number >= <f64>least && number <= <f64>most && number == Math.trunc(number)) return <i32>number;
    this.wrong(must);
    return fallback;
  }

  flag(fallback: bool): bool {
    const value = this.of(Kind.Flag, "true or false");
    return value === null ? fallback : value.flag;
  }

  /** A list of texts; empty when the key is missing. */
  texts(): string[] {
    const texts: string[] = [];
    const items = this.list(Kind.Text, "a list of texts");
    for (let i = 0; i < items.length; i++) texts.push(items[i].text);
    return texts;
  }

  /** A list of objects; empty when the key is missing. */
  tables(): Table[] {
    const tables: Table[] = [];
    const items = this.list(Kind.Object, "a list of objects");
    for (let i = 0; i < items.length; i++) {
      tables.push(this.inner(items[i], this.table.path(this.key) + "[" + digits(i) + "]"));
    }
    return tables;
  }

  /** An object; null when the key is missing. */
  object(): Table | null {
    const value = this.of(Kind.Object, "an object");
    return value === null ? null : this.inner(value, this.table.path(this.key));
  }

  /** Whatever it is. */
  json(): Json | null { return this.value; }

  private inner(value: Json, name: string): Table {
    const faults = this.table.faults;
    return faults.watch(new Table(value, name, faults));
  }

  private list(kind: Kind, must: string): Json[] {
    const list = this.of(Kind.List, must);
    const items: Json[] = list === null ? [] : list.items;
    for (let i = 0; i < items.length; i++) {
      if (items[i].kind != kind) {
        this.wrong(must);
        return [];
      }
    }
    return items;
  }

  /** The value when it is of this kind, else null and a fault. */
  private of(kind: Kind, must: string): Json | null {
    const value = this.value;
    if (value === null || value.kind == kind) return value;
    this.wrong(must + ", not " + nameOf(value.kind));
    return null;
  }

  private wrong(must: string): void { this.table.fault(this.key, "must be " + must); }
}

/** Lower case of ASCII letters; the library's way has the tables of all of Unicode. */
export function asciiLower(text: string): string {
  let lower = "";
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    lower += String.fromCharCode(code >= 0x41 && code <= 0x5a ? code | 0x20 : code);
  }
  return lower;
}

/** RFC 9110, 5.6.2: 1 to 128 characters of a token. */
export function isToken(name: string): bool {
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i);
    const isLetter = (code | 0x20) >= 0x61 && (code | 0x20) <= 0x7a;
    const isDigit = code >= 0x30 && code <= 0x39;
    if (!isLetter && !isDigit && !"!#$%&'*+-.^_`|~".includes(String.fromCharCode(code))) return false;
  }
  return name.length > 0 && name.length <= 128;
}

function nameOf(kind: Kind): string {
  switch (kind) {
    case Kind.Text: return "a text";
    case Kind.Number: return "a number";
    case Kind.Flag: return "true or false";
    case Kind.Null: return "null";
    case Kind.List: return "a list";
    default: return "an object";
  }
}
