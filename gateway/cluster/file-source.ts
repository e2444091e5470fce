// The configuration file as one of the writers of the configuration. What it last held is remembered,
// so that a restart keeps what was changed through the admin API since, and a changed file is applied.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { ControlError } from "../../admin/api/control.ts";
import type { ApplyResult } from "../../admin/api/control.ts";
import type { Log } from "../base/log.ts";
import { writeFileDurably } from "../base/write-file.ts";
import type { Fault } from "../config/fault.ts";
import type { GatewayControl } from "./gateway-control.ts";

/** The file, and the note of what it held when it was applied last. */
export class SourceFile {
  readonly path: string;
  readonly #notePath: string;

  constructor(path: string, notePath: string) {
    this.path = path;
    this.#notePath = notePath;
  }

  /** True when this very text was applied last, from this very place. */
  async isApplied(text: string): Promise<boolean> {
    const noted = await readFile(this.#notePath, "utf8").catch(() => "");
    return noted === this.#noteOf(text);
  }

  /** Remembers a text as applied; when it returns that survives a crash. */
  async markApplied(text: string): Promise<void> {
    await writeFileDurably(this.#notePath, this.#noteOf(text));
  }

  #noteOf(text: string): string {
    const sha256 = createHash("sha256").update(text).digest("hex");
    return `${JSON.stringify({ file: this.path, sha256 })}\n`;
  }
}

/** Applies the file to a running gateway. */
export class FileSource {
  readonly #control: GatewayControl;
  readonly #file: SourceFile;
  readonly #log: Log;

  constructor(parts: { control: GatewayControl; file: SourceFile; log: Log }) {
    this.#control = parts.control;
    this.#file = parts.file;
    this.#log = parts.log;
  }

  /** Reads and applies it; what is wrong with it goes to the log, and the live revision serves on. */
  async apply(): Promise<"applied" | "unchanged" | "refused"> {
    try {
      const { changed, revision, tookMs } = await this.#apply();
      if (!changed) return "unchanged";
      this.#log.info("the configuration file was applied", { revision, took_ms: tookMs });
      return "applied";
    } catch (error) {
      const faults = faultsOf(error);
      this.#log.error("the configuration file was refused; the live revision serves on", {
        faults,
      });
      return "refused";
    }
  }

  async #apply(): Promise<ApplyResult> {
    const text = await readFile(this.#file.path, "utf8");
    const options = { actor: "file", ifMatch: null, dryRun: false, message: this.#file.path };
    const result = await this.#control.applyText(text, options);
    await this.#file.markApplied(text);
    return result;
  }
}

function faultsOf(error: unknown): readonly Fault[] {
  if (error instanceof ControlError && Array.isArray(error.fields["faults"])) {
    return error.fields["faults"] as Fault[];
  }
  const message = error instanceof Error ? error.message : String(error);
  const path = error instanceof ControlError ? String(error.fields["path"] ?? "") : "";
  return [{ code: "refused", message, path: path === "" ? "" : `/${path.replaceAll(".", "/")}` }];
}
