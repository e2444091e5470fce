// What node:http knows by name. It is not imported: an import looks at every export, and one of them
// loads the client of fetch when it is looked at, 4 MB of each worker (bench/README.md).

export const { METHODS, STATUS_CODES } = process.getBuiltinModule("node:http");
