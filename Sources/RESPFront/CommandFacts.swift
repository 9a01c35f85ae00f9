/// What COMMAND tells that follows from a row.
extension Command {
    /// First key, last key, step, as COMMAND INFO has them; nil when three numbers cannot say it.
    var keyRange: (first: Int, last: Int, step: Int)? {
        switch keys {
        case .range(let first, let last, let step), .channels(let first, let last, let step):
            (first, last, step)
        case .custom: specRange
        case .none, .counted: nil
        }
    }

    /// Where the keys are depends on the words.
    var hasMovableKeys: Bool {
        if case .counted = keys { return true }
        return flags.contains(.movableKeys)
    }

    /// ACL categories in Redis's order: what the flags imply, and what the group says.
    var categories: [String] {
        var chosen: Set<String> = []
        if flags.contains(.write) { chosen.insert("write") }
        if flags.contains(.readonly), group != "scripting" { chosen.insert("read") }
        if flags.contains(.admin) { chosen.formUnion(["admin", "dangerous"]) }
        if flags.contains(.pubsub) { chosen.insert("pubsub") }
        if flags.contains(.blocking) { chosen.insert("blocking") }
        chosen.insert(flags.contains(.fast) ? "fast" : "slow")
        chosen.formUnion(Command.listedCategories[name] ?? groupCategories)
        return Command.allCategories.filter { chosen.contains($0) }
    }

    private var groupCategories: [String] {
        // A container itself belongs nowhere, but for COMMAND, which also runs alone.
        if !subcommands.isEmpty, name != "command" { return [] }
        if name == "command" || name.hasPrefix("command|") { return ["connection"] }
        switch group {
        case "generic": return ["keyspace"]
        case "sorted-set": return ["sortedset"]
        case "transactions": return ["transaction"]
        case "server", "tier", "cluster": return []
        default: return Command.allCategories.contains(group) ? [group] : []
        }
    }

    /// Categories that neither flags nor group tell (Redis 7.0).
    private static let listedCategories: [String: [String]] = [
        "info": ["dangerous"], "role": ["admin", "dangerous"], "lastsave": ["admin", "dangerous"],
        "keys": ["keyspace", "dangerous"], "flushall": ["keyspace", "dangerous"],
        "flushdb": ["keyspace", "dangerous"], "swapdb": ["keyspace", "dangerous"],
        "restore": ["keyspace", "dangerous"], "restore-asking": ["keyspace", "dangerous"],
        "migrate": ["keyspace", "dangerous"],
        "dbsize": ["keyspace"], "wait": ["connection"], "asking": ["connection"],
        "sort": ["set", "sortedset", "list", "dangerous"],
        "sort_ro": ["set", "sortedset", "list", "dangerous"],
        "readonly": ["connection"], "readwrite": ["connection"], "pubsub|help": [],
    ]

    static let allCategories = [
        "keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap",
        "hyperloglog", "geo", "stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous",
        "connection", "transaction", "scripting",
    ]

    /// What the command does to its keys, in COMMAND's words; from flags and need, but for the
    /// few that delete or insert.
    var keyFlags: [String] {
        if !ownAccess.isEmpty { return ownAccess }
        if let listed = Command.listedKeyFlags[name] { return listed }
        if case .channels = keys { return ["not_key"] }
        let isMetadata = if case .metadata = needs { true } else { false }
        if !flags.contains(.write) { return isMetadata ? ["RO"] : ["RO", "access"] }
        if isMetadata { return ["RW", "update"] }
        if case .nothing = needs { return ["OW", "update"] }
        return ["RW", "access", "update"]
    }

    private static let listedKeyFlags: [String: [String]] = [
        "del": ["RM", "delete"], "unlink": ["RM", "delete"],
        "getdel": ["RW", "access", "delete"], "append": ["RW", "insert"],
        "setrange": ["RW", "update"], "set": ["RW", "access", "update", "variable_flags"],
        "getset": ["RW", "access", "update"], "setnx": ["OW", "insert"],
        "msetnx": ["OW", "insert"], "mset": ["OW", "update"],
        "strlen": ["RO"],
        "ttl": ["RO", "access"], "pttl": ["RO", "access"], "expiretime": ["RO", "access"],
        "pexpiretime": ["RO", "access"], "object|encoding": ["RO"],
    ]
}
