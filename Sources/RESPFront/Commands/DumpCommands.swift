import Primitives
import RESPWire
import TieredStore

/// DUMP and RESTORE: values as RDB payloads, exchanged with any Redis.
enum DumpCommands {
    static func rows() -> [Command] {
        let options = "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]"
        let grows: CommandFlags = [.write, .growsMemory]
        return [
            row("dump", 2, .value, [.readonly], "2.6.0", "Returns a value as an RDB payload.", "key", dump)
                .tips("nondeterministic_output"),
            row("restore", -4, .metadata, grows, "2.6.0", "Sets a key to the value of an RDB payload.",
                options, restore).access("OW update"),
            row("restore-asking", -4, .metadata, grows.union(.asking), "3.0.0",
                "As RESTORE, for moving keys between nodes.", options, restore)
                .access("OW update").systemCommand(),
        ]
    }

    private static func row(
        _ name: String, _ arity: Int, _ needs: Command.Need, _ flags: CommandFlags, _ since: String,
        _ summary: String, _ syntax: String, _ handler: @escaping Command.Handler
    ) -> Command {
        Command(name, arity, keys: .first, needs: needs, flags,
            group: name == "restore-asking" ? "server" : "generic", since: since,
            complexity: "O(N) in the value", summary, syntax: syntax, handler)
    }

    static func dump(_ call: Call) throws(CommandError) {
        guard let payload = try call.keys.dump(0) else { return call.reply.null() }
        payload.withView { call.reply.bulk($0) }
    }

    private struct Request {
        var replaces = false
        var isAbsolute = false
        var idle: Int64?
        var frequency: Int64?

        init(_ call: Call) throws(CommandError) {
            var i = 4
            while i < call.wordCount {
                let word = call.arguments[i], hasMore = i + 1 < call.wordCount
                if word.matches("replace") {
                    replaces = true
                } else if word.matches("absttl") {
                    isAbsolute = true
                } else if word.matches("idletime"), hasMore, frequency == nil {
                    idle = try Options.integer(call.arguments[i + 1])
                    if idle! < 0 { throw .message("ERR Invalid IDLETIME value, must be >= 0") }
                    i += 1
                } else if word.matches("freq"), hasMore, idle == nil {
                    frequency = try Options.integer(call.arguments[i + 1])
                    if !(0...255).contains(frequency!) {
                        throw .message("ERR Invalid FREQ value, must be >= 0 and <= 255")
                    }
                    i += 1
                } else {
                    throw .syntax
                }
                i += 1
            }
        }
    }

    static func restore(_ call: Call) throws(CommandError) {
        let request = try Request(call)
        if call.keys.exists(0), !request.replaces {
            throw .message("BUSYKEY Target key name already exists.")
        }
        let time = try Options.integer(call.arguments[2])
        if time < 0 { throw .message("ERR Invalid TTL value, must be >= 0") }
        let payload = call.arguments[3]
        guard StagedKeys.isIntact(payload) else {
            throw .message("ERR DUMP payload version or checksum are wrong")
        }
        // What it takes in RAM is of the size of what was sent, compressed strings apart.
        try call.requireRoom(payload.count)
        let until = time == 0 ? nil : request.isAbsolute ? time : call.now &+ time
        guard try call.keys.restore(0, payload, expiry: until.map { .at($0) } ?? .none) else {
            throw .message("ERR Bad data format")
        }
        if let until, until <= call.now {
            call.keys.delete(0)
            return call.reply.ok()
        }
        if let idle = request.idle { call.keys.setIdleSeconds(0, Int(min(idle, 1 << 24))) }
        call.notify(.generic, "restore")
        call.reply.ok()
    }
}
