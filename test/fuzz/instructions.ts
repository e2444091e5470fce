// The instructions of Wasm 2.0 that only take and give values, as a table written from the
// specification and from nothing in the sandbox: what a generator draws from, and what the sandbox's
// own tables are compared with. Types are letters: i I f F for the numbers of 32 and 64 bits, V for
// vectors, r for functions and e for the host's references.

export type Instruction = {
  /** The prefix, 0 for none, and the opcode. */
  readonly prefix: number;
  readonly opcode: number;
  readonly takes: string;
  readonly gives: string;
  /** Its result may be a NaN of any bits: `f` or `F` says of which lanes; "" when it is exact. */
  readonly nan: string;
  /** The logarithm of the natural alignment; -1 when it does not touch memory. */
  readonly align: number;
  /** How many lanes its immediate chooses from; 0 when it has none. */
  readonly lanes: number;
};

export const VALUE_CODES: Readonly<Record<string, number>> = {
  i: 0x7f,
  I: 0x7e,
  f: 0x7d,
  F: 0x7c,
  V: 0x7b,
  r: 0x70,
  e: 0x6f,
};

const PLAIN =
  "0x45 i:i, 0x46-0x4f ii:i, 0x50 I:i, 0x51-0x5a II:i, 0x5b-0x60 ff:i, 0x61-0x66 FF:i, " +
  "0x67-0x69 i:i, 0x6a-0x78 ii:i, 0x79-0x7b I:I, 0x7c-0x8a II:I, 0x8b-0x8c f:f, " +
  "0x8d-0x91 f:f~f, 0x92-0x97 ff:f~f, 0x98 ff:f, 0x99-0x9a F:F, 0x9b-0x9f F:F~F, " +
  "0xa0-0xa5 FF:F~F, 0xa6 FF:F, 0xa7 I:i, 0xa8-0xa9 f:i, 0xaa-0xab F:i, 0xac-0xad i:I, " +
  "0xae-0xaf f:I, 0xb0-0xb1 F:I, 0xb2-0xb3 i:f, 0xb4-0xb5 I:f, 0xb6 F:f~f, 0xb7-0xb8 i:F, " +
  "0xb9-0xba I:F, 0xbb f:F~F, 0xbc f:i, 0xbd F:I, 0xbe i:f, 0xbf I:F, 0xc0-0xc1 i:i, " +
  "0xc2-0xc4 I:I, " +
  "0x28 i:i@2, 0x29 i:I@3, 0x2a i:f@2, 0x2b i:F@3, 0x2c-0x2d i:i@0, 0x2e-0x2f i:i@1, " +
  "0x30-0x31 i:I@0, 0x32-0x33 i:I@1, 0x34-0x35 i:I@2, " +
  "0x36 ii:@2, 0x37 iI:@3, 0x38 if:@2, 0x39 iF:@3, 0x3a ii:@0, 0x3b ii:@1, 0x3c iI:@0, " +
  "0x3d iI:@1, 0x3e iI:@2";

const SATURATING = "0-1 f:i, 2-3 F:i, 4-5 f:I, 6-7 F:I";

const VECTOR =
  "0 i:V@4, 1-6 i:V@3, 7 i:V@0, 8 i:V@1, 9 i:V@2, 10 i:V@3, 11 iV:@4, 14 VV:V, 15-17 i:V, " +
  "18 I:V, 19 f:V, 20 F:V, 21-22 V:i/16, 23 Vi:V/16, 24-25 V:i/8, 26 Vi:V/8, 27 V:i/4, " +
  "28 Vi:V/4, 29 V:I/2, 30 VI:V/2, 31 V:f/4, 32 Vf:V/4, 33 V:F/2, 34 VF:V/2, 35-76 VV:V, " +
  "77 V:V, 78-81 VV:V, 82 VVV:V, 83 V:i, 84 iV:V@0/16, 85 iV:V@1/8, 86 iV:V@2/4, 87 iV:V@3/2, " +
  "88 iV:@0/16, 89 iV:@1/8, 90 iV:@2/4, 91 iV:@3/2, 92 i:V@2, 93 i:V@3, 94 V:V~f, 95 V:V~F, " +
  "96-98 V:V, 99-100 V:i, 101-102 VV:V, 103-106 V:V~f, 107-109 Vi:V, 110-115 VV:V, " +
  "116-117 V:V~F, 118-121 VV:V, 122 V:V~F, 123 VV:V, 124-129 V:V, 130 VV:V, 131-132 V:i, " +
  "133-134 VV:V, 135-138 V:V, 139-141 Vi:V, 142-147 VV:V, 148 V:V~F, 149-153 VV:V, " +
  "155-159 VV:V, 160-161 V:V, 163-164 V:i, 167-170 V:V, 171-173 Vi:V, 174 VV:V, 177 VV:V, " +
  "181-186 VV:V, 188-191 VV:V, 192-193 V:V, 195-196 V:i, 199-202 V:V, 203-205 Vi:V, 206 VV:V, " +
  "209 VV:V, 213-223 VV:V, 224-225 V:V, 227 V:V~f, 228-233 VV:V~f, 234-235 VV:V, 236-237 V:V, " +
  "239 V:V~F, 240-245 VV:V~F, 246-247 VV:V, 248-255 V:V";

export const INSTRUCTIONS: readonly Instruction[] = [
  ...table(0, PLAIN),
  ...table(0xfc, SATURATING),
  ...table(0xfd, VECTOR),
];

// "1-6 i:V@3/2~f": opcodes, what is taken and given, alignment, lanes, kind of NaN.
function table(prefix: number, text: string): Instruction[] {
  const instructions: Instruction[] = [];
  for (const line of text.split(", ")) {
    const match = /^(\w+)(?:-(\w+))? (\w*):(\w*)(?:~(\w))?(?:@(\d))?(?:\/(\d+))?$/.exec(line);
    if (match === null) throw new Error(`not a line of the table: ${line}`);
    const [, first, last, takes, gives, nan, align, lanes] = match;
    for (let opcode = Number(first); opcode <= Number(last ?? first); opcode++) {
      instructions.push({
        ...{ prefix, opcode, takes, gives, nan: nan ?? "" },
        ...{ align: Number(align ?? -1), lanes: Number(lanes ?? 0) },
      });
    }
  }
  return instructions;
}
