import Primitives
import RESPWire
import TieredStore

/// MEMORY: where RAM goes.
enum MemoryCommands {
    static func rows() -> [Command] {
        func row(_ name: String, _ summary: String, _ handler: @escaping Command.Handler) -> Command
        {
            Command(
                "memory|" + name, 2, [.stopsWorld], group: "server", since: "4.0.0",
                complexity: "O(N) where N is the number of segments and connections", summary,
                handler)
        }
        return [Command.container(
            "memory", group: "server", since: "4.0.0", "RAM.",
            [
                Command(
                    "memory|usage", -3, keys: .range(first: 2, last: 2, step: 1), needs: .metadata,
                    [.readonly], group: "server", since: "4.0.0", "RAM a key and its value take.",
                    syntax: "key [SAMPLES count]", usage),
                row("stats", "RAM by purpose.", statistics)
                .tips("nondeterministic_output", "request_policy:all_shards", "response_policy:special"),
                row("doctor", "RAM in words.", doctor)
                .tips("nondeterministic_output", "request_policy:all_shards", "response_policy:special"),
                row("malloc-stats", "The store's allocator.", allocator)
                .tips("nondeterministic_output", "request_policy:all_shards", "response_policy:special"),
                row("purge", "Gives unused RAM back.", purge)
                .tips("request_policy:all_shards", "response_policy:all_succeeded"),
                Command.help("memory", since: "4.0.0", [
                    "DOCTOR", "    RAM in words.", "MALLOC-STATS", "    The store's allocator.",
                    "PURGE", "    Give unused RAM back.", "STATS", "    RAM by purpose.",
                    "USAGE <key> [SAMPLES <count>]", "    RAM <key> and its value take, in bytes.",
                ]),
            ])]
    }

    /// MEMORY USAGE key [SAMPLES count] → bytes, or null if absent. A demoted value takes none.
    static func usage(_ call: Call) throws(CommandError) {
        var i = 3
        while i < call.wordCount {
            guard call.arguments[i].matches("samples"), i + 1 < call.wordCount else {
                throw .syntax
            }
            if try call.integer(i + 1) < 0 { throw .syntax }
            i += 2
        }
        guard let bytes = call.keys.memoryUsage(0) else { return call.reply.null() }
        call.reply.integer(bytes)
    }

    /// MEMORY STATS → map; Redis 7.0's names where they mean something here.
    static func statistics(_ call: Call) throws(CommandError) {
        let server = call.server, store = server.store, memory = MemoryFacts(server)
        let keyCount = store.residentItems + store.demotedItems
        let integers: [(String, Int)] = [
            ("peak.allocated", memory.peak), ("total.allocated", memory.used),
            ("startup.allocated", 0), ("replication.backlog", 0), ("clients.slaves", 0),
            ("clients.normal", memory.clients), ("cluster.links", 0), ("aof.buffer", 0),
            ("lua.caches", memory.scripts), ("functions.caches", memory.functions),
            ("overhead.total", memory.overhead),
            ("keys.count", keyCount),
            ("keys.bytes-per-key", keyCount == 0 ? 0 : memory.used / keyCount),
            ("dataset.bytes", memory.dataset), ("allocator.allocated", memory.live),
            ("allocator.active", memory.held), ("allocator.resident", memory.resident),
            ("allocator-fragmentation.bytes", memory.held - memory.live),
            ("allocator-rss.bytes", memory.resident - memory.held),
            ("rss-overhead.bytes", memory.resident - memory.used),
            ("fragmentation.bytes", memory.resident - memory.used),
        ]
        let doubles: [(String, Double)] = [
            ("dataset.percentage", memory.share(memory.dataset, of: memory.used) * 100),
            ("peak.percentage", memory.share(memory.used, of: memory.peak) * 100),
            ("allocator-fragmentation.ratio", memory.share(memory.held, of: memory.live)),
            ("allocator-rss.ratio", memory.share(memory.resident, of: memory.held)),
            ("rss-overhead.ratio", memory.share(memory.resident, of: memory.used)),
            ("fragmentation", memory.share(memory.resident, of: memory.used)),
        ]
        call.reply.map(integers.count + doubles.count)
        for (name, value) in integers {
            call.bulk(name)
            call.reply.integer(value)
        }
        for (name, value) in doubles {
            call.bulk(name)
            call.reply.double(value)
        }
    }

    static func doctor(_ call: Call) throws(CommandError) {
        let memory = MemoryFacts(call.server), limit = call.server.store.ledger.limit
        var lines: [String] = []
        if memory.used > limit / 100 * 98 {
            lines.append("RAM is used up; values leave it as fast as the SSD takes them.")
        }
        if memory.held > memory.live * 3 / 2, memory.held - memory.live > 10 << 20 {
            lines.append("Slabs hold much more than their cells use; evacuation is at work.")
        }
        if memory.clients > limit / 5 {
            lines.append(
                "Clients hold much: some do not read their replies, or send large requests.")
        }
        if lines.isEmpty { lines.append("No problem found.") }
        call.verbatim(lines.joined(separator: "\n") + "\n")
    }

    static func allocator(_ call: Call) throws(CommandError) {
        let memory = MemoryFacts(call.server), ledger = call.server.store.ledger
        call.verbatim("""
            slab bytes in use: \(memory.live)
            slab bytes held: \(memory.held)
            bytes taken from the kernel: \(ledger.used)
            most ever taken: \(ledger.peak)
            limit: \(ledger.limit)\n
            """)
    }

    /// Empty pages go back at once, always: there is nothing to do.
    static func purge(_ call: Call) throws(CommandError) { call.reply.ok() }
}
