// What a guest may import, by module, name and signature. It is the one list: admission refuses what
// is not here, and the pool provides what is. Everything is denied by default.

export type ValueType = "i32" | "i64" | "f32" | "f64";

/** The type of a function at the border. */
export type Signature = {
  readonly params: readonly ValueType[];
  readonly results: readonly ValueType[];
};

export const EXTISM_ENV = "extism:host/env";
export const EXTISM_USER = "extism:host/user";
export const WASI = "wasi_snapshot_preview1";
export const ASSEMBLYSCRIPT = "env";

/** Served by the kernel, without leaving Wasm. */
export const KERNEL_IMPORTS: ReadonlyMap<string, Signature> = signatures({
  alloc: "I:I",
  free: "I:",
  length: "I:I",
  length_unsafe: "I:I",
  load_u8: "I:i",
  load_u64: "I:I",
  store_u8: "Ii:",
  store_u64: "II:",
  input_offset: ":I",
  input_length: ":I",
  input_load_u8: "I:i",
  input_load_u64: "I:I",
  output_set: "II:",
  error_set: "I:",
  error_get: ":I",
});

/** Served by hostcalls.ts. */
export const HOST_IMPORTS: ReadonlyMap<string, Signature> = signatures({
  config_get: "I:I",
  var_get: "I:I",
  var_set: "II:",
  http_request: "II:I",
  http_status_code: ":i",
  http_headers: ":I",
  log_trace: "I:",
  log_debug: "I:",
  log_info: "I:",
  log_warn: "I:",
  log_error: "I:",
  get_log_level: ":i",
});

/** Served by wasi.ts: a handful of them do something, the others answer ENOSYS. */
export const WASI_IMPORTS: ReadonlyMap<string, Signature> = signatures({
  args_get: "ii:i",
  args_sizes_get: "ii:i",
  environ_get: "ii:i",
  environ_sizes_get: "ii:i",
  clock_res_get: "ii:i",
  clock_time_get: "iIi:i",
  fd_advise: "iIIi:i",
  fd_allocate: "iII:i",
  fd_close: "i:i",
  fd_datasync: "i:i",
  fd_fdstat_get: "ii:i",
  fd_fdstat_set_flags: "ii:i",
  fd_fdstat_set_rights: "iII:i",
  fd_filestat_get: "ii:i",
  fd_filestat_set_size: "iI:i",
  fd_filestat_set_times: "iIIi:i",
  fd_pread: "iiiIi:i",
  fd_prestat_get: "ii:i",
  fd_prestat_dir_name: "iii:i",
  fd_pwrite: "iiiIi:i",
  fd_read: "iiii:i",
  fd_readdir: "iiiIi:i",
  fd_renumber: "ii:i",
  fd_seek: "iIii:i",
  fd_sync: "i:i",
  fd_tell: "ii:i",
  fd_write: "iiii:i",
  path_create_directory: "iii:i",
  path_filestat_get: "iiiii:i",
  path_filestat_set_times: "iiiiIIi:i",
  path_link: "iiiiiii:i",
  path_open: "iiiiiIIii:i",
  path_readlink: "iiiiii:i",
  path_remove_directory: "iii:i",
  path_rename: "iiiiii:i",
  path_symlink: "iiiii:i",
  path_unlink_file: "iii:i",
  poll_oneoff: "iiii:i",
  proc_exit: "i:",
  proc_raise: "i:i",
  random_get: "ii:i",
  sched_yield: ":i",
  sock_accept: "iii:i",
  sock_recv: "iiiiii:i",
  sock_send: "iiiii:i",
  sock_shutdown: "ii:i",
});

/** What AssemblyScript's runtime calls when an assertion fails. */
export const ASSEMBLYSCRIPT_IMPORTS: ReadonlyMap<string, Signature> = signatures({
  abort: "iiii:",
});

/** The signature that `module` `name` must have, or null when the import is not allowed. */
export function signatureOf(
  module: string,
  name: string,
  hostFunctions: ReadonlyMap<string, Signature>,
): Signature | null {
  switch (module) {
    case EXTISM_ENV:
      return KERNEL_IMPORTS.get(name) ?? HOST_IMPORTS.get(name) ?? null;
    case EXTISM_USER:
      return hostFunctions.get(name) ?? null;
    case WASI:
      return WASI_IMPORTS.get(name) ?? null;
    case ASSEMBLYSCRIPT:
      return ASSEMBLYSCRIPT_IMPORTS.get(name) ?? null;
    default:
      return null;
  }
}

/** `(i64, i32) -> i64`, for a sentence. */
export function showSignature(params: readonly string[], results: readonly string[]): string {
  return `(${params.join(", ")}) -> ${results.length === 1 ? results[0] : `(${results.join(", ")})`}`;
}

// "Ii:I" is (i64, i32) -> i64.
function signatures(table: Record<string, string>): ReadonlyMap<string, Signature> {
  const types: Record<string, ValueType> = { i: "i32", I: "i64", f: "f32", F: "f64" };
  const parse = (letters: string) => Array.from(letters, (letter) => types[letter]);
  return new Map(
    Object.entries(table).map(([name, text]) => {
      const colon = text.indexOf(":");
      return [name, { params: parse(text.slice(0, colon)), results: parse(text.slice(colon + 1)) }];
    }),
  );
}
