import Primitives
import RESPWire
import TieredStore

/// COMMAND: the rows themselves.
enum CommandCommands {
    static func rows() -> [Command] {
        func row(
            _ name: String, _ arity: Int, since: String, complexity: String, _ summary: String,
            syntax: String = "", _ handler: @escaping Command.Handler
        ) -> Command {
            Command(
                "command|" + name, arity, [.loading, .stale], group: "server", since: since,
                complexity: complexity, summary, syntax: syntax, handler)
        }
        let looked = "O(N) where N is the number of commands to look up"
        let total = "O(N) where N is the total number of commands"
        let words = "O(N) where N is the number of arguments to the command"
        return [Command(
            "command", -1, [.loading, .stale], group: "server", since: "2.8.13", complexity: total,
            "Facts about all commands.",
            subcommands: [
                row("count", 2, since: "2.8.13", complexity: "O(1)", "How many commands there are.",
                    count),
                row("info", -2, since: "2.8.13", complexity: looked, "Facts about commands.",
                    syntax: "[command-name [command-name ...]]", info),
                row("docs", -2, since: "7.0.0", complexity: looked, "Documentation of commands.",
                    syntax: "[command-name [command-name ...]]", docs),
                row("list", -2, since: "7.0.0", complexity: total, "Names of commands.",
                    syntax: """
                        [FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]
                        """, list),
                row("getkeys", -4, since: "2.8.13", complexity: words, "The keys of a command.",
                    syntax: "command [arg [arg ...]]", getKeys),
                row("getkeysandflags", -4, since: "7.0.0", complexity: words,
                    "The keys of a command and what it does to them.",
                    syntax: "command [arg [arg ...]]", getKeysAndFlags),
                Command.help("command", since: "5.0.0", [
                    "(no subcommand)", "    Facts about all commands.",
                    "COUNT", "    How many commands there are.",
                    "LIST [FILTERBY ...]", "    Names of commands.",
                    "INFO [<command-name> ...]", "    Facts about commands (default: all).",
                    "DOCS [<command-name> ...]", "    Documentation of commands (default: all).",
                    "GETKEYS <full-command>", "    The keys of a command.",
                    "GETKEYSANDFLAGS <full-command>", "    The keys and what is done to them.",
                ]),
            ], all)]
    }

    private static func table(_ call: Call) -> [Command] { call.front.table.rows }

    /// COMMAND → ten facts about each.
    static func all(_ call: Call) throws(CommandError) {
        let rows = table(call)
        call.reply.array(rows.count)
        for row in rows { describe(row, call.reply) }
    }

    static func count(_ call: Call) throws(CommandError) { call.reply.integer(table(call).count) }

    /// COMMAND INFO [name …] → as COMMAND, null for unknown names.
    static func info(_ call: Call) throws(CommandError) {
        if call.wordCount == 2 { return try all(call) }
        call.reply.array(call.wordCount - 2)
        for i in 2..<call.wordCount {
            if let row = find(call, i) { describe(row, call.reply) } else { call.reply.nullArray() }
        }
    }

    /// A command by its full name, "config|get" for a subcommand.
    private static func find(_ call: Call, _ i: Int) -> Command? {
        let parts = call.option(i).split(separator: "|", maxSplits: 1).map { Array($0.utf8) }
        guard let first = parts.first, let row = first.withView({ call.front.table.find($0) })
        else { return nil }
        let command = row.takeUnretainedValue()
        return parts.count == 1 ? command : parts[1].withView { command.subcommand($0) }
    }

    // MARK: Facts

    private static func describe(_ command: Command, _ reply: ReplyWriter) {
        reply.array(10)
        text(command.name, reply)
        reply.integer(command.arity)
        let flags = CommandFlags.shown.filter { command.flags.contains($0.0) }.map(\.1)
        let isMovable = command.hasMovableKeys && !command.flags.contains(.movableKeys)
        states(flags + (isMovable ? ["movablekeys"] : []), reply)
        let keys = command.keyRange ?? (0, 0, 0)
        reply.integer(keys.first)
        reply.integer(keys.last)
        reply.integer(keys.step)
        states(command.categories.map { "@" + $0 }, reply)
        reply.set(0)
        describeKeys(command, reply)
        reply.set(command.subcommands.count)
        for sub in command.subcommands { describe(sub, reply) }
    }

    private static func text(_ text: String, _ reply: ReplyWriter) {
        Array(text.utf8).withView { reply.bulk($0) }
    }

    private static func states(_ names: [String], _ reply: ReplyWriter) {
        reply.set(names.count)
        for name in names { Array(name.utf8).withView { reply.simple($0) } }
    }

    /// One key specification, or none.
    private static func describeKeys(_ command: Command, _ reply: ReplyWriter) {
        let isMovable = command.hasMovableKeys
        guard command.keyRange != nil || isMovable else { return reply.set(0) }
        reply.set(1)
        reply.map(3)
        text("flags", reply)
        states(command.keyFlags, reply)
        if let (first, last, step) = command.keyRange {
            search(reply, begin: ("index", [("index", first)]), find: ("range", [
                ("lastkey", last < 0 ? last : last - first), ("keystep", step), ("limit", 0),
            ]))
        } else if case .counted(let at) = command.keys {
            search(reply, begin: ("index", [("index", at)]), find: ("keynum", [
                ("keynumidx", 0), ("firstkey", 1), ("keystep", 1),
            ]))
        } else {
            search(reply, begin: ("unknown", []), find: ("unknown", []))
        }
    }

    private typealias Step = (type: String, facts: [(String, Int)])

    private static func search(_ reply: ReplyWriter, begin: Step, find: Step) {
        for (name, step) in [("begin_search", begin), ("find_keys", find)] {
            text(name, reply)
            reply.map(2)
            text("type", reply)
            text(step.type, reply)
            text("spec", reply)
            reply.map(step.facts.count)
            for (fact, value) in step.facts {
                text(fact, reply)
                reply.integer(value)
            }
        }
    }

    // MARK: Documentation

    /// COMMAND DOCS [name …] → map of name and documentation; unknown names are left out.
    static func docs(_ call: Call) throws(CommandError) {
        let rows = call.wordCount == 2
            ? table(call) : (2..<call.wordCount).compactMap { find(call, $0) }
        call.reply.map(rows.count)
        for row in rows { document(row, call.reply) }
    }

    private static func document(_ command: Command, _ reply: ReplyWriter) {
        let arguments = CommandSyntax.arguments(command)
        let facts = [
            ("summary", command.summary), ("since", command.since), ("group", command.group),
            ("complexity", command.complexity),
        ]
        text(command.name, reply)
        reply.map(facts.count + (arguments.isEmpty ? 0 : 1) + (command.subcommands.isEmpty ? 0 : 1))
        for (name, value) in facts {
            text(name, reply)
            text(value, reply)
        }
        if !arguments.isEmpty {
            text("arguments", reply)
            describe(arguments, reply)
        }
        if !command.subcommands.isEmpty {
            text("subcommands", reply)
            reply.map(command.subcommands.count)
            for sub in command.subcommands { document(sub, reply) }
        }
    }

    private static func describe(_ arguments: [CommandSyntax.Argument], _ reply: ReplyWriter) {
        reply.array(arguments.count)
        for argument in arguments {
            var flags: [String] = []
            if argument.isOptional { flags.append("optional") }
            if argument.isMultiple { flags.append("multiple") }
            let isKey = argument.type == "key"
            reply.map(
                2 + (isKey ? 1 : 0) + (argument.token == nil ? 0 : 1) + (flags.isEmpty ? 0 : 1)
                    + (argument.parts.isEmpty ? 0 : 1))
            text("name", reply)
            text(argument.name, reply)
            text("type", reply)
            text(argument.type, reply)
            if isKey {
                text("key_spec_index", reply)
                reply.integer(0)
            }
            if let token = argument.token {
                text("token", reply)
                text(token, reply)
            }
            if !flags.isEmpty {
                text("flags", reply)
                states(flags, reply)
            }
            if !argument.parts.isEmpty {
                text("arguments", reply)
                describe(argument.parts, reply)
            }
        }
    }

    // MARK: LIST and GETKEYS

    /// COMMAND LIST [FILTERBY MODULE | ACLCAT | PATTERN value] → names, subcommands included.
    static func list(_ call: Call) throws(CommandError) {
        var names = table(call).flatMap { [$0] + $0.subcommands }
        if call.wordCount > 2 {
            guard call.wordCount == 5, call.arguments[2].matches("filterby") else { throw .syntax }
            let value = call.arguments[4]
            switch call.option(3) {
            case "module": names = []
            case "aclcat":
                let category = value.lowercasedText
                names = names.filter { $0.categories.contains(category) }
            case "pattern":
                let glob = Glob(value, ignoringCase: true)
                names = names.filter { $0.nameBytes.withView { glob.matches($0) } }
            default: throw .syntax
            }
        }
        call.reply.set(names.count)
        for command in names { call.bulk(command.name) }
    }

    private static func keys(
        _ call: Call
    ) throws(CommandError) -> (command: Command, words: Arguments, at: [Int]) {
        let words = call.arguments.dropFirst(2)
        let second = words.count > 1 ? words[1] : nil
        guard let command = call.front.table.find(words[0], sub: second) else {
            throw .message("ERR Invalid command specified")
        }
        if case .none = command.keys { throw .message("ERR The command has no key arguments") }
        guard command.accepts(wordCount: words.count) else {
            throw .message("ERR Invalid number of arguments specified for command")
        }
        var positions: [Command.KeyPosition] = []
        command.findKeys(words, into: &positions)
        if positions.isEmpty { throw .message("ERR Invalid arguments specified for command") }
        return (command, words, positions.map(\.word))
    }

    static func getKeys(_ call: Call) throws(CommandError) {
        let (_, words, at) = try keys(call)
        call.reply.array(at.count)
        for i in at { call.reply.bulk(words[i]) }
    }

    static func getKeysAndFlags(_ call: Call) throws(CommandError) {
        let (command, words, at) = try keys(call)
        call.reply.array(at.count)
        for i in at {
            call.reply.array(2)
            call.reply.bulk(words[i])
            states(command.keyFlags, call.reply)
        }
    }
}
