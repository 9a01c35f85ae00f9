import Primitives
import RESPWire
import TieredStore

/// XGROUP: making and removing consumer groups and consumers.
enum StreamGroupCommands {
    static func rows() -> [Command] {
        [
            Command.container(
                "xgroup", group: "stream", since: "5.0.0", "Manages consumer groups.", [
                    sub("create", -5, [.write, .growsMemory], "5.0.0", "Makes a consumer group.",
                        "key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]", create)
                        .access("RW insert"),
                    sub("setid", -5, [.write], "5.0.0", "Sets the last ID a group was given.",
                        "key group <id | $> [ENTRIESREAD entries-read]", setID).access("RW update"),
                    sub("destroy", 4, [.write], "5.0.0", "Removes a consumer group.", "key group", destroy)
                        .access("RW delete"),
                    sub("createconsumer", 5, [.write, .growsMemory], "6.2.0", "Makes a consumer.",
                        "key group consumer", createConsumer).access("RW insert"),
                    sub("delconsumer", 5, [.write], "5.0.0", "Removes a consumer.",
                        "key group consumer", deleteConsumer).access("RW delete"),
                    Command.help("xgroup", since: "5.0.0", group: "stream", helpLines),
                ])
        ]
    }

    private static func sub(
        _ name: String, _ arity: Int, _ flags: CommandFlags, _ since: String, _ summary: String,
        _ syntax: String, _ handler: @escaping Command.Handler
    ) -> Command {
        StreamCommands.row("xgroup|\(name)", arity, keys: .range(first: 2, last: 2, step: 1), flags, since,
            summary, syntax, handler)
    }

    private static let helpLines = [
        "CREATE <key> <groupname> <id|$> [option]", "    Create a new consumer group. Options are:",
        "    * MKSTREAM", "      Create the empty stream if it does not exist.",
        "    * ENTRIESREAD entries_read", "      Set the group's entries_read counter (internal use).",
        "CREATECONSUMER <key> <groupname> <consumer>",
        "    Create a new consumer in the specified group.",
        "DELCONSUMER <key> <groupname> <consumer>", "    Remove the specified consumer.",
        "DESTROY <key> <groupname>", "    Remove the specified group.",
        "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
        "    Set the current group ID and entries_read counter.",
    ]

    private struct GroupOptions {
        var makesStream = false
        var entriesRead: Int64?

        init(_ call: Call, mayMake: Bool) throws(CommandError) {
            var i = 5
            while i < call.wordCount {
                if mayMake, call.arguments[i].matches("mkstream") {
                    makesStream = true
                } else if call.arguments[i].matches("entriesread"), i + 1 < call.wordCount {
                    let given = try Options.integer(call.arguments[i + 1])
                    if given < -1 {
                        throw .message("ERR value for ENTRIESREAD must be positive or -1")
                    }
                    entriesRead = given == -1 ? nil : given
                    i += 1
                } else {
                    throw .message("ERR unknown subcommand or wrong number of arguments for "
                        + "'\(call.word(1))'. Try XGROUP HELP.")
                }
                i += 1
            }
        }
    }

    private static let needsKey = CommandError.message(
        "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the "
            + "MKSTREAM option to create an empty stream automatically.")

    private static func stream(_ call: Call) throws(CommandError) -> Stream {
        guard let stream = try call.keys.stream(0) else { throw needsKey }
        return stream
    }

    private static func group(_ call: Call) throws(CommandError) -> ConsumerGroup {
        guard let group = try stream(call).group(call.arguments[3]) else {
            throw .message("NOGROUP No such consumer group '\(call.word(3))' for key name '\(call.word(2))'")
        }
        return group
    }

    private static func id(_ call: Call, _ stream: Stream?) throws(CommandError) -> StreamID {
        if call.arguments[4] == ByteView("$") { return stream?.lastID ?? .zero }
        return try StreamIDText.strict(call.arguments[4])
    }

    static func create(_ call: Call) throws(CommandError) {
        let options = try GroupOptions(call, mayMake: true)
        let old = try call.keys.stream(0)
        if old == nil, !options.makesStream { throw needsKey }
        let id = try id(call, old)
        if old?.group(call.arguments[3]) != nil {
            throw .message("BUSYGROUP Consumer Group name already exists")
        }
        let stream = old == nil ? call.keys.makeStream(0) : try call.keys.editStream(0)
        stream.addGroup(call.arguments[3], lastID: id, entriesRead: options.entriesRead)
        call.notify(.stream, "xgroup-create")
        call.reply.ok()
    }

    static func setID(_ call: Call) throws(CommandError) {
        let options = try GroupOptions(call, mayMake: false)
        let group = try group(call), id = try id(call, try stream(call))
        _ = try call.keys.editStream(0)
        group.lastID = id
        group.entriesRead = options.entriesRead
        call.notify(.stream, "xgroup-setid")
        call.reply.ok()
    }

    static func destroy(_ call: Call) throws(CommandError) {
        guard let group = try stream(call).group(call.arguments[3]) else { return call.reply.integer(0) }
        try call.keys.editStream(0).removeGroup(group)
        call.notify(.stream, "xgroup-destroy")
        call.reply.integer(1)
    }

    static func createConsumer(_ call: Call) throws(CommandError) {
        let group = try group(call)
        if let known = group.consumer(call.arguments[4]) {
            known.seenAt = call.now
            return call.reply.integer(0)
        }
        _ = try StreamReadCommands.consumer(call, 0, group, call.arguments[4])
        call.reply.integer(1)
    }

    static func deleteConsumer(_ call: Call) throws(CommandError) {
        let group = try group(call)
        guard let consumer = group.consumer(call.arguments[4]) else { return call.reply.integer(0) }
        _ = try call.keys.editStream(0)
        call.reply.integer(group.removeConsumer(consumer))
        call.notify(.stream, "xgroup-delconsumer")
    }
}
