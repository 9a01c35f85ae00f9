import Primitives
import RESPWire
import TieredStore

/// Commands of replication, saving and modules, none of which this version has: what they answer to a
/// server that stands alone, and a clear error where something would have to be done.
enum ReplicationCommands {
    static func rows() -> [Command] { replication() + moving() + [modules()] }

    private static func row(
        _ name: String, _ arity: Int, _ flags: CommandFlags, _ since: String, _ summary: String,
        _ syntax: String, _ handler: @escaping Command.Handler
    ) -> Command {
        Command(name, arity, flags, group: "server", since: since, summary, syntax: syntax, handler)
    }

    private static func replication() -> [Command] {
        let begin: CommandFlags = [.admin, .noScript, .noAsyncLoading, .noMulti]
        let role: CommandFlags = [.admin, .noScript, .stale, .noAsyncLoading]
        let target = "<host port | NO ONE>"
        return [
            row("replicaof", 3, role, "5.0.0", "Makes the server a replica, or a master.", target, replicaOf),
            row("slaveof", 3, role, "1.0.0", "Makes the server a replica, or a master.", target, replicaOf)
                .deprecated("5.0.0", by: "`REPLICAOF`"),
            row("failover", -1, [.admin, .noScript, .stale], "6.2.0", "Hands over to a replica.",
                "[TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]", failover),
            row("psync", -3, begin, "2.8.0", "Begins replication.", "replicationid offset") {
                call throws(CommandError) in
                _ = try call.integer(2)
                throw noReplication
            },
            row("sync", 1, begin, "1.0.0", "Begins replication (old).", "") {
                _ throws(CommandError) in throw noReplication
            },
            row("replconf", -1, [.admin, .noScript, .loading, .stale, .allowBusy], "3.0.0",
                "What replicas tell of themselves.", "", replicaSettings).systemCommand(),
        ]
    }

    private static let noReplication = CommandError.message(
        "ERR this version of tierd has no replication")

    /// REPLICAOF NO ONE → OK: a master it is. REPLICAOF host port → error.
    static func replicaOf(_ call: Call) throws(CommandError) {
        if call.arguments[1].matches("no"), call.arguments[2].matches("one") { return call.reply.ok() }
        guard let port = Decimal.int64(call.arguments[2]), (0...65535).contains(port) else {
            throw .message("ERR Invalid master port")
        }
        throw noReplication
    }

    /// FAILOVER, without replicas → always an error.
    static func failover(_ call: Call) throws(CommandError) {
        var hasTimeout = false, hasHost = false, isForced = false
        var i = 1
        while i < call.wordCount {
            let word = call.arguments[i], rest = call.wordCount - i - 1
            if word.matches("timeout"), rest >= 1, !hasTimeout {
                if try call.integer(i + 1) <= 0 {
                    throw .message("ERR FAILOVER timeout must be greater than 0")
                }
                hasTimeout = true
                i += 1
            } else if word.matches("to"), rest >= 2, !hasHost {
                _ = try call.integer(i + 2)
                hasHost = true
                i += 2
            } else if word.matches("force"), !isForced {
                isForced = true
            } else if word.matches("abort"), call.wordCount == 2 {
                throw .message("ERR No failover in progress.")
            } else {
                throw .syntax
            }
            i += 1
        }
        throw .message("ERR FAILOVER requires connected replicas.")
    }

    /// REPLCONF [option value …] → OK for what Redis 7.0 knows.
    static func replicaSettings(_ call: Call) throws(CommandError) {
        if call.wordCount % 2 == 0 { throw .syntax }
        for i in stride(from: 1, to: call.wordCount, by: 2) {
            switch call.option(i) {
            case "listening-port", "rdb-only": _ = try call.integer(i + 1)
            case "ip-address", "capa", "rdb-filter-only": continue
            case "ack", "getack": return
            default: throw .message("ERR Unrecognized REPLCONF option: \(call.word(i))")
            }
        }
        call.reply.ok()
    }

    // MARK: Moving keys

    private static func moving() -> [Command] {
        [
            Command("migrate", -6, keys: .custom(migrateKeys), needs: .metadata, [.write, .movableKeys],
                group: "generic", since: "2.6.0", "Moves keys to another server.",
                syntax: """
                    host port <key | ""> destination-db timeout [COPY] [REPLACE] \
                    [AUTH password | AUTH2 username password] [KEYS key ...]
                    """, migrate)
                .tips("nondeterministic_output")
                .specs(
                    .at(3, "RW access delete"),
                    .after("KEYS", from: -2, through: -1, "RW access delete incomplete")),
        ]
    }

    /// The key, or what follows KEYS when that is empty.
    private static func migrateKeys(_ words: Arguments, _ positions: inout [Command.KeyPosition]) {
        guard words.count > 3 else { return }
        var first = words.count
        for i in stride(from: 6, to: words.count, by: 1) where words[i].matches("keys") && words[3].isEmpty {
            first = i + 1
            break
        }
        if first < words.count {
            for i in first..<words.count { positions.append(Command.KeyPosition(i)) }
        } else {
            positions.append(Command.KeyPosition(3))
        }
    }

    /// MIGRATE of keys that are not there → NOKEY, else an error.
    static func migrate(_ call: Call) throws(CommandError) {
        _ = try call.integer(4)
        _ = try call.integer(5)
        guard (0..<call.keys.count).contains(where: { call.keys.exists($0) })
        else { return call.simple("NOKEY") }
        throw .message("ERR this version of tierd does not move keys to other servers")
    }

    // MARK: Modules

    private static func modules() -> Command {
        let flags: CommandFlags = [.admin, .noScript, .noAsyncLoading]
        func sub(
            _ name: String, _ arity: Int, _ flags: CommandFlags, _ since: String, _ summary: String,
            _ syntax: String, _ handler: @escaping Command.Handler
        ) -> Command {
            row("module|" + name, arity, flags, since, summary, syntax, handler)
        }
        return .container("module", group: "server", since: "4.0.0", "Extensions of the server.", [
            sub("list", 2, [.admin, .noScript], "4.0.0", "The loaded modules.", "") {
                call throws(CommandError) in call.reply.array(0)
            }.tips("nondeterministic_output_order"),
            sub("load", -3, flags, "4.0.0", "Loads a module.", "path [arg [arg ...]]", loadModule),
            sub("loadex", -3, flags, "7.0.0", "Loads a module with settings.",
                "path [CONFIG name value [CONFIG name value ...]] [ARGS arg [arg ...]]", loadModule),
            sub("unload", 3, flags, "4.0.0", "Unloads a module.", "name") { call throws(CommandError) in
                try requireModulesAllowed(call)
                throw .message("ERR Error unloading module: no such module with that name")
            },
            Command.help("module", since: "5.0.0", [
                "LIST", "    The loaded modules: none, tierd has no modules.",
                "LOAD <path> [<arg> ...]", "    Load a module: an error.",
                "LOADEX <path> [[CONFIG NAME VALUE] [CONFIG NAME VALUE]] [ARGS ...]",
                "    Load a module: an error.", "UNLOAD <name>", "    Unload a module.",
            ]),
        ])
    }

    private static func loadModule(_ call: Call) throws(CommandError) {
        try requireModulesAllowed(call)
        throw .message("ERR Error loading the extension. Please check the server logs.")
    }

    private static func requireModulesAllowed(_ call: Call) throws(CommandError) {
        if let refusal = ServerCommands.protection("module", call) { throw refusal }
    }
}
