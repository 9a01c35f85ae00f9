import CSystem
import Primitives
import RESPWire
import TieredStore

/// FUNCTION, FCALL and FCALL_RO.
enum FunctionCommands {
    static func rows() -> [Command] {
        let calls: CommandFlags = [.noScript, .stale, .skipMonitor, .noMandatoryKeys, .mayReplicate]
        let syntax = "function numkeys [key [key ...]] [arg [arg ...]]"
        return [
            call("fcall", calls, "Runs a function.", syntax).access("RW access update"),
            call("fcall_ro", calls.union(.readonly), "Runs a function that writes nothing.", syntax),
            Command.container(
                "function", group: "scripting", since: "7.0.0", "Libraries of functions.", subs()),
        ]
    }

    private static func subs() -> [Command] {
        let changes: CommandFlags = [.noScript, .write], grows = changes.union(.growsMemory)
        let busy: CommandFlags = [.noScript, .allowBusy]
        func all(_ row: Command) -> Command {
            row.tips("request_policy:all_shards", "response_policy:all_succeeded")
        }
        return [
            all(sub("load", -3, grows, "Makes a library known.", "[REPLACE] function-code", load)),
            all(sub("delete", 3, changes, "Forgets a library.", "library-name", delete)),
            all(sub("flush", -2, changes, "Forgets all libraries.", "[ASYNC | SYNC]", flush)),
            sub("kill", 2, busy, "Ends the running function.", "", kill)
                .tips("request_policy:all_shards", "response_policy:one_succeeded"),
            sub("list", -2, [.noScript], "Lists libraries and their functions.",
                "[LIBRARYNAME library-name-pattern] [WITHCODE]", list).tips("nondeterministic_output_order"),
            sub("stats", 2, busy, "What runs, and how many functions there are.", "", stats)
                .tips("nondeterministic_output", "request_policy:all_shards", "response_policy:special"),
            sub("dump", 2, [.noScript], "All libraries as a payload.", "", dump),
            all(sub("restore", -3, grows, "Makes the libraries of a payload known.",
                "serialized-value [FLUSH | APPEND | REPLACE]", restore)),
            Command.help("function", since: "7.0.0", group: "scripting", helpLines),
        ]
    }

    private static func call(
        _ name: String, _ flags: CommandFlags, _ summary: String, _ syntax: String
    ) -> Command {
        Command(name, -3, keys: .counted(at: 2), needs: .value, flags, group: "scripting", since: "7.0.0",
            complexity: "Depends on the function.", summary, syntax: syntax, run)
    }

    private static func sub(
        _ name: String, _ arity: Int, _ flags: CommandFlags, _ summary: String, _ syntax: String,
        _ handler: @escaping Command.Handler
    ) -> Command {
        Command(
            "function|" + name, arity, flags, group: "scripting", since: "7.0.0", summary, syntax: syntax,
            handler)
    }

    /// FCALL function numkeys key … arg … → what the function returns.
    static func run(_ call: Call) throws(CommandError) {
        guard let function = call.front.scripts.function(call.arguments[1]) else {
            throw .message("ERR Function not found")
        }
        let keys = try ScriptCommands.keyCount(
            call, unreadable: .message("ERR Bad number of keys provided"))
        try call.front.scripts.run(function, call, keys: keys)
    }

    // MARK: Changing libraries

    /// FUNCTION LOAD [REPLACE] code → the library's name.
    static func load(_ call: Call) throws(CommandError) {
        for i in 2..<call.wordCount - 1 where !call.arguments[i].matches("replace") {
            throw .message("ERR Unknown option given: \(call.arguments[i].text)")
        }
        let text = call.arguments[call.wordCount - 1], replaces = call.wordCount > 3
        let header = try Library.Header(text), libraries = call.server.libraries
        if !replaces, libraries.known.libraries[header.name] != nil {
            throw .message("ERR Library '\(header.name)' already exists")
        }
        let library = try call.front.scripts.load(library: text, header)
        do throws(CommandError) { try libraries.add(library, replacing: replaces) } catch {
            call.front.scripts.drop(library.id)
            throw error
        }
        call.bulk(library.name)
    }

    static func delete(_ call: Call) throws(CommandError) {
        guard call.server.libraries.delete(call.arguments[2].text) else {
            throw .message("ERR Library not found")
        }
        call.reply.ok()
    }

    static func flush(_ call: Call) throws(CommandError) {
        if call.wordCount > 3 { throw wrongWords(call) }
        if call.wordCount == 3, !["async", "sync"].contains(call.option(2)) {
            throw .message("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")
        }
        call.server.libraries.flush()
        call.reply.ok()
    }

    private static func wrongWords(_ call: Call) -> CommandError {
        .message("""
            ERR unknown subcommand or wrong number of arguments for '\(call.arguments[1].text)'. \
            Try FUNCTION HELP.
            """)
    }

    static func kill(_ call: Call) throws(CommandError) { try ScriptCommands.kill(call, functions: true) }

    // MARK: Payloads

    static func dump(_ call: Call) throws(CommandError) {
        FunctionPayload.write(call.server.libraries.known.sorted.map(\.text)).withView { call.reply.bulk($0) }
    }

    /// FUNCTION RESTORE payload [FLUSH | APPEND | REPLACE] → OK: all of its libraries or none.
    static func restore(_ call: Call) throws(CommandError) {
        if call.wordCount > 4 { throw wrongWords(call) }
        let policy = call.wordCount == 4 ? call.option(3) : "append"
        guard ["flush", "append", "replace"].contains(policy) else {
            throw .message("""
                ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.
                """)
        }
        let texts: [[UInt8]]
        do throws(FunctionPayload.Refusal) { texts = try FunctionPayload.read(call.arguments[2]) } catch {
            switch error {
            case .notIntact: throw .message("ERR DUMP payload version or checksum are wrong")
            case .noOpcode: throw .message("ERR can not read data type")
            case .notAFunction: throw .message("ERR given type is not a function")
            case .cutOff: throw .message("ERR Failed loading library payload")
            }
        }
        var loaded: [Library] = []
        do throws(CommandError) {
            // On their own first: what they have twice is an error under each policy.
            var alone = FunctionLibraries.Known()
            for text in texts {
                // `texts` keeps the bytes.
                let view = text.withView { $0 }
                let library = try call.front.scripts.load(library: view, Library.Header(view))
                loaded.append(library)
                try alone.add(library, replacing: false)
            }
            try call.server.libraries.change { known throws(CommandError) in
                if policy == "flush" { known = FunctionLibraries.Known() }
                for library in loaded {
                    if policy == "append", known.libraries[library.name] != nil {
                        throw .message("ERR Library \(library.name) already exists")
                    }
                    try known.add(library, replacing: true)
                }
            }
        } catch {
            for library in loaded { call.front.scripts.drop(library.id) }
            throw error
        }
        call.reply.ok()
    }

    // MARK: Telling

    static func list(_ call: Call) throws(CommandError) {
        var pattern: ByteView?, withCode = false, i = 2
        while i < call.wordCount {
            let word = call.arguments[i]
            if !withCode, word.matches("withcode") {
                withCode = true
            } else if pattern == nil, word.matches("libraryname") {
                guard i + 1 < call.wordCount else {
                    throw .message("ERR library name argument was not given")
                }
                i += 1
                pattern = call.arguments[i]
            } else {
                throw .message("ERR Unknown argument \(word.text)")
            }
            i += 1
        }
        let libraries = call.server.libraries.known.sorted.filter { library in
            guard let pattern else { return true }
            return Array(library.name.utf8).withView { Glob(pattern, ignoringCase: true).matches($0) }
        }
        call.reply.array(libraries.count)
        for library in libraries { write(library, withCode, call.reply) }
    }

    private static func write(_ library: Library, _ withCode: Bool, _ reply: ReplyWriter) {
        reply.map(withCode ? 4 : 3)
        reply.bulk("library_name")
        Array(library.name.utf8).withView { reply.bulk($0) }
        reply.bulk("engine")
        reply.bulk("LUA")
        reply.bulk("functions")
        reply.array(library.functions.count)
        for function in library.functions {
            reply.map(3)
            reply.bulk("name")
            Array(function.name.utf8).withView { reply.bulk($0) }
            reply.bulk("description")
            if let text = function.description { text.withView { reply.bulk($0) } } else { reply.null() }
            reply.bulk("flags")
            let flags = Library.flagNames.indices.filter { function.flags & 1 << UInt32($0) != 0 }
            reply.set(flags.count)
            for flag in flags { reply.simple(Library.flagNames[flag]) }
        }
        if withCode {
            reply.bulk("library_code")
            library.text.withView { reply.bulk($0) }
        }
    }

    static func stats(_ call: Call) throws(CommandError) {
        let phases = call.server.fronts.map(\.scriptPhase).filter { $0.running != nil && $0.phase != .idle }
        let function = phases.first { $0.isFunction }
        if function == nil, !phases.isEmpty { throw .message(Busyness.refusal(isFunction: false)) }
        let known = call.server.libraries.known, reply = call.reply
        reply.map(2)
        reply.bulk("running_script")
        if let running = function?.running {
            let spent = Double(csystem_ticks() &- running.since) / call.server.ticksPerMicrosecond
            reply.map(3)
            reply.bulk("name")
            call.bulk(running.name)
            reply.bulk("command")
            reply.array(running.command.count)
            for word in running.command { word.withView { reply.bulk($0) } }
            reply.bulk("duration_ms")
            reply.integer(Int(spent / 1000))
        } else {
            reply.null()
        }
        reply.bulk("engines")
        reply.map(1)
        reply.bulk("LUA")
        reply.map(2)
        reply.bulk("libraries_count")
        reply.integer(known.libraries.count)
        reply.bulk("functions_count")
        reply.integer(known.functions.count)
    }

    private static let helpLines = [
        "LOAD [REPLACE] <FUNCTION CODE>", "    Create a new library with the given library name and code.",
        "DELETE <LIBRARY NAME>", "    Delete the given library.", "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
        "    Return general information on all the libraries:", "    * Library name",
        "    * The engine used to run the Library", "    * Library description", "    * Functions list",
        "    * Library code (if WITHCODE is given)",
        "    It also possible to get only function that matches a pattern using LIBRARYNAME argument.",
        "STATS", "    Return information about the current function running:", "    * Function name",
        "    * Command used to run the function", "    * Duration in MS that the function is running",
        "    If no function is running, return nil",
        "    In addition, returns a list of available engines.", "KILL",
        "    Kill the current running function.", "FLUSH [ASYNC|SYNC]", "    Delete all the libraries.",
        "    When called without the optional mode argument, the behavior is determined by the",
        "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
        "    * ASYNC: Asynchronously flush the libraries.", "    * SYNC: Synchronously flush the libraries.",
        "DUMP",
        "    Return a serialized payload representing the current libraries, can be restored using FUNCTION "
            + "RESTORE command",
        "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
        "    Restore the libraries represented by the given payload, it is possible to give a restore policy "
            + "to",
        "    control how to handle existing libraries (default APPEND):",
        "    * FLUSH: delete all existing libraries.",
        "    * APPEND: appends the restored libraries to the existing libraries. On collision, abort.",
        "    * REPLACE: appends the restored libraries to the existing libraries, On collision, replace the "
            + "old",
        "      libraries with the new libraries (notice that even on this option there is a chance of "
            + "failure",
        "      in case of functions name collision with another library).",
    ]
}
