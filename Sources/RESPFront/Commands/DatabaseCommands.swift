import Primitives
import RESPWire
import TieredStore

/// Commands on whole databases.
enum DatabaseCommands {
    static func rows() -> [Command] {
        let group = "server"
        return [
            Command("dbsize", 1, [.readonly, .fast, .stopsWorld], group: group, since: "1.0.0",
                "Returns the number of keys in the database.", size)
                .tips("request_policy:all_shards", "response_policy:agg_sum"),
            Command("flushdb", -1, [.write, .stopsWorld], group: group, since: "1.0.0",
                complexity: "O(N) in the keys", "Deletes all keys of the database.",
                syntax: "[ASYNC | SYNC]", flush)
                .tips("request_policy:all_shards", "response_policy:all_succeeded"),
            Command("flushall", -1, [.write, .stopsWorld], group: group, since: "1.0.0",
                complexity: "O(N) in the keys", "Deletes all keys of all databases.",
                syntax: "[ASYNC | SYNC]", flush)
                .tips("request_policy:all_shards", "response_policy:all_succeeded"),
            Command("swapdb", 3, [.write, .fast, .stopsWorld], group: group, since: "4.0.0",
                "Exchanges the contents of two databases.", syntax: "index1 index2", swap),
        ]
    }

    static func size(_ call: Call) throws(CommandError) {
        call.reply.integer(call.server.store.keyCount(database: call.database))
    }

    /// FLUSHDB, FLUSHALL [ASYNC | SYNC]: both free at once; nothing on the SSD is touched.
    static func flush(_ call: Call) throws(CommandError) {
        if call.wordCount > 2 { throw .syntax }
        if call.wordCount == 2, !call.arguments[1].matches("async"), !call.arguments[1].matches("sync") {
            throw .syntax
        }
        // What is being saved is of a keyspace that is no more (Redis 7.0 ends the child of a FLUSHALL).
        call.server.saver.abandon()
        call.server.appendOnly.abandonRewrite()
        if call.command.name == "flushdb" {
            call.front.databaseIsEmptied(call.database)
            call.keys.changes += UInt64(call.worker.flush(database: call.database))
        } else {
            for database in 0..<call.server.store.options.databases {
                call.front.databaseIsEmptied(database)
                call.keys.changes += UInt64(call.worker.flush(database: database))
            }
        }
        call.front.databasesWereEmptied()
        call.reply.ok()
    }

    static func swap(_ call: Call) throws(CommandError) {
        guard let first = Decimal.int64(call.arguments[1]) else {
            throw .message("ERR invalid first DB index")
        }
        guard let second = Decimal.int64(call.arguments[2]) else {
            throw .message("ERR invalid second DB index")
        }
        let range = 0..<Int64(call.server.store.options.databases)
        guard range.contains(first), range.contains(second) else {
            throw .message("ERR DB index is out of range")
        }
        call.front.databasesAreSwapped(Int(first), Int(second))
        call.server.store.swapDatabases(Int(first), Int(second))
        call.front.databasesWereSwapped(Int(first), Int(second))
        call.reply.ok()
    }
}
