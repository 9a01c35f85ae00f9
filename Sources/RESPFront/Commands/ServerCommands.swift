import CSystem
import Glibc
import Primitives
import RESPWire
import TieredStore

/// INFO, TIME, SHUTDOWN, DEBUG and other commands about the server as a whole.
enum ServerCommands {
    static func rows() -> [Command] {
        [
            Command(
                "info", -1, [.loading, .stale, .stopsWorld], group: "server", since: "1.0.0",
                "Facts and statistics.", syntax: "[section [section ...]]", info)
                .tips("nondeterministic_output", "request_policy:all_shards", "response_policy:special"),
            Command(
                "time", 1, [.loading, .stale, .fast], group: "server", since: "2.6.0",
                "The server's clock.", time)
                .tips("nondeterministic_output"),
            Command(
                "shutdown", -1,
                [.admin, .noScript, .loading, .stale, .noMulti, .allowBusy, .ignoresPause],
                group: "server", since: "1.0.0",
                complexity: "O(1)", "Ends the server.",
                syntax: "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]", shutdown),
            Command(
                "lolwut", -1, [.readonly, .fast], group: "server", since: "5.0.0",
                "Shows the version.", syntax: "[VERSION version]", version),
            Command(
                "monitor", 1, [.admin, .noScript, .loading, .stale], group: "server", since: "1.0.0",
                "Listen for all requests received by the server in real time", monitor),
            Command(
                "role", 1, [.noScript, .loading, .stale, .fast], group: "server", since: "2.8.12",
                "The server's part in replication.", role),
            Command(
                "debug", -2, keys: .custom(debugKeys), needs: .varies(debugNeed),
                [.admin, .noScript, .loading, .stale], group: "server", since: "1.0.0",
                complexity: "Depends on subcommand.", "For tests of the server.",
                syntax: "subcommand [argument ...]", debug)
                .systemCommand(),
        ] + ConfigCommands.rows() + CommandCommands.rows() + MemoryCommands.rows()
            + SlowlogCommands.rows() + LatencyCommands.rows()
    }

    /// INFO [section …] → text.
    static func info(_ call: Call) throws(CommandError) {
        let names = Set((1..<max(1, call.wordCount)).map { call.option($0) })
        call.verbatim(Info.text(Info.sections(call.server, names: names, now: call.now)))
    }

    /// TIME → seconds and microseconds. The one command that reads the clock itself.
    static func time(_ call: Call) throws(CommandError) {
        let now = Int64(csystem_realtime_us())
        call.reply.array(2)
        call.reply.bulk(now / 1_000_000)
        call.reply.bulk(now % 1_000_000)
    }

    /// SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT] → no reply when it works.
    static func shutdown(_ call: Call) throws(CommandError) {
        var given: Set<String> = []
        for i in 1..<max(1, call.wordCount) {
            let option = call.option(i)
            guard ["nosave", "save", "now", "force", "abort"].contains(option) else {
                throw .syntax
            }
            given.insert(option)
        }
        if given.isSuperset(of: ["nosave", "save"]) { throw .syntax }
        if given.contains("abort") {
            if given.count > 1 { throw .syntax }
            throw .message("ERR No shutdown in progress.")
        }
        if call.server.busyness.hasSlowScript, !given.contains("nosave") {
            throw .message(call.server.busyness.refusal)
        }
        call.session.closesAfterReply = true
        call.server.requestShutdown(given.contains("save") ? true : given.contains("nosave") ? false : nil)
    }

    static func version(_ call: Call) throws(CommandError) {
        call.verbatim("tierd \(Info.tierdVersion), Redis ver. \(Info.redisVersion)\n")
    }

    /// MONITOR → OK, and then a line for each command of any client.
    static func monitor(_ call: Call) throws(CommandError) {
        if call.isInside { throw .message("ERR MONITOR isn't allowed for DENY BLOCKING client") }
        call.front.startMonitoring(call.session)
        call.reply.ok()
    }

    static func role(_ call: Call) throws(CommandError) {
        call.reply.array(3)
        call.reply.bulk("master")
        call.reply.integer(0)
        call.reply.array(0)
    }

    // MARK: DEBUG

    private static func debugKeys(_ arguments: Arguments, _ positions: inout [Command.KeyPosition])
    {
        if arguments.count == 3, arguments[1].matches("object") {
            positions.append(Command.KeyPosition(2))
        } else if arguments.count > 2, arguments[1].matches("digest-value") {
            for word in 2..<arguments.count { positions.append(Command.KeyPosition(word)) }
        }
    }

    private static func debugNeed(_ arguments: Arguments) -> Command.Need {
        arguments.count > 2 && arguments[1].matches("digest-value") ? .value : .metadata
    }

    /// Why DEBUG or MODULE may not be used from this connection; nil: it may.
    static func protection(_ container: String, _ call: Call) -> CommandError? {
        if isAllowed("enable-\(container)-command", call) { return nil }
        return .message("""
            ERR \(container.uppercased()) command not allowed. If the enable-\(container)-command option \
            is set to "local", you can run it from a local connection, otherwise you need to set this \
            option in the configuration file, and then restart the server.
            """)
    }

    /// DEBUG SLEEP seconds | OBJECT key | SET-ACTIVE-EXPIRE 0 or 1. Errors: not allowed.
    static func debug(_ call: Call) throws(CommandError) {
        if let refusal = protection("debug", call) { throw refusal }
        switch (call.option(1), call.wordCount) {
        case ("sleep", 3):
            guard let seconds = Decimal.double(call.arguments[2]), seconds >= 0, seconds < 1e6
            else {
                throw .notAFloat
            }
            // As in Redis, nobody is served meanwhile.
            try call.server.stopWorld { () throws(CommandError) in sleep(seconds) }
            call.reply.ok()
        case ("object", 3): try debugObject(call)
        case ("set-active-expire", 3):
            let isOn = try call.integer(2) != 0
            try call.server.stopWorld { () throws(CommandError) in
                for worker in call.server.store.workers { worker.activeExpiry = isOn }
            }
            call.reply.ok()
        default:
            if try DebugCommands.run(call) { return }
            throw .message("""
                ERR unknown subcommand or wrong number of arguments for '\(call.word(1))'. \
                Try DEBUG HELP.
                """)
        }
    }

    /// Whether a setting of "no", "local" or "yes" lets this connection.
    static func isAllowed(_ setting: String, _ call: Call) -> Bool {
        let allowed = SettingTable.find(setting)!.value(call.configuration)
        if allowed == Array("yes".utf8) { return true }
        let peer = call.session.peerAddress
        let isLocal = peer.hasPrefix("127.") || peer.hasPrefix("[::1]") || peer.hasSuffix(":0")
        return allowed == Array("local".utf8) && isLocal
    }

    private static func sleep(_ seconds: Double) {
        var rest = timespec(
            tv_sec: Int(seconds), tv_nsec: Int((seconds - seconds.rounded(.down)) * 1e9))
        var left = timespec()
        while nanosleep(&rest, &left) != 0, errno == EINTR { rest = left }
    }

    private static func debugObject(_ call: Call) throws(CommandError) {
        guard call.keys.exists(0) else { throw .noSuchKey }
        let count = try call.keys.stringCount(0) ?? 0
        let encoding = call.keys.isRaw(0) || count > 44 ? "raw" : "embstr"
        let idle = call.keys.idleSeconds(0) ?? 0
        call.simple("""
            Value at:0x0 refcount:1 encoding:\(encoding) serializedlength:\(count) \
            lru:\((call.now / 1000 - Int64(idle)) & 0xff_ffff) lru_seconds_idle:\(idle) \
            residency:\(call.keys.residency(0).rawValue)
            """)
    }
}
