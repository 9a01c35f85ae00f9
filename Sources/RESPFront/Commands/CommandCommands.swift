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
                    syntax: "[command-name [command-name ...]]", info)
                .tips("nondeterministic_output_order"),
                row("docs", -2, since: "7.0.0", complexity: looked, "Documentation of commands.",
                    syntax: "[command-name [command-name ...]]", docs)
                .tips("nondeterministic_output_order"),
                row("list", -2, since: "7.0.0", complexity: total, "Names of commands.",
                    syntax: """
                        [FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]
                        """, list)
                .tips("nondeterministic_output_order"),
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
            ], all)
                .tips("nondeterministic_output_order")]
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
        reply.set(command.tips.count)
        for tip in command.tips { text(tip, reply) }
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

    private static func describeKeys(_ command: Command, _ reply: ReplyWriter) {
        let specs = command.keySpecs
        reply.set(specs.count)
        for spec in specs {
            reply.map(3)
            text("flags", reply)
            states(spec.access, reply)
            text("begin_search", reply)
            switch spec.begin {
            case .index(let index): step("index", [("index", .number(index))], reply)
            case .keyword(let word, let from):
                step("keyword", [("keyword", .text(word)), ("startfrom", .number(from))], reply)
            case .unknown: step("unknown", [], reply)
            }
            text("find_keys", reply)
            switch spec.find {
            case .range(let last, let every, let limit):
                step("range", [
                    ("lastkey", .number(last)), ("keystep", .number(every)), ("limit", .number(limit)),
                ], reply)
            case .counted(let at, let first, let every):
                step("keynum", [
                    ("keynumidx", .number(at)), ("firstkey", .number(first)), ("keystep", .number(every)),
                ], reply)
            case .unknown: step("unknown", [], reply)
            }
        }
    }

    private enum Fact { case number(Int), text(String) }

    private static func step(_ type: String, _ facts: [(String, Fact)], _ reply: ReplyWriter) {
        reply.map(2)
        text("type", reply)
        text(type, reply)
        text("spec", reply)
        reply.map(facts.count)
        for (name, fact) in facts {
            text(name, reply)
            switch fact {
            case .number(let number): reply.integer(number)
            case .text(let word): text(word, reply)
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
        var facts = [
            ("summary", command.summary), ("since", command.since), ("group", command.group),
            ("complexity", command.complexity),
        ]
        if let (since, replacement) = command.deprecation {
            facts += [("deprecated_since", since), ("replaced_by", replacement)]
        }
        let flags = (command.deprecation == nil ? [] : ["deprecated"])
            + (command.isSystemCommand ? ["syscmd"] : [])
        text(command.name, reply)
        let lists = [flags.isEmpty, arguments.isEmpty, command.subcommands.isEmpty]
        reply.map(facts.count + lists.count { !$0 })
        for (name, value) in facts {
            text(name, reply)
            text(value, reply)
        }
        if !flags.isEmpty {
            text("doc_flags", reply)
            states(flags, reply)
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
        if positions.isEmpty, !command.flags.contains(.noMandatoryKeys) {
            throw .message("ERR Invalid arguments specified for command")
        }
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
            let spec = command.keySpecs.first { $0.covers(i, words) }
            states(access(command, spec, words), call.reply)
        }
    }

    /// What is done to a key; where a row says "variable_flags" it depends on the words.
    private static func access(_ command: Command, _ spec: KeySpec?, _ words: Arguments) -> [String] {
        let access = spec?.access ?? command.keyFlags
        guard access.contains("variable_flags") else { return access }
        if case .varies = command.needs {
            return command.needsValue(words) ? ["RW", "access", "update"] : ["OW", "update"]
        }
        let writes = (2..<max(2, words.count)).contains {
            words[$0].matches("set") || words[$0].matches("incrby")
        }
        return writes ? ["RW", "access", "update"] : ["RO", "access"]
    }
}
