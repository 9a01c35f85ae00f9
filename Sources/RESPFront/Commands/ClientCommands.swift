import Primitives
import RESPWire
import TieredStore

/// CLIENT: what is known of connections, and what can be done to them.
enum ClientCommands {
    static func rows() -> [Command] {
        [Command.container(
            "client", group: "connection", since: "2.4.0", "Client connections.",
            ownRows() + othersRows() + TrackingCommands.rows() + [Command.help(
                "client", since: "5.0.0", group: "connection", helpLines)])]
    }

    /// Subcommands about the connection they come from.
    private static func ownRows() -> [Command] {
        func row(
            _ name: String, _ arity: Int, since: String, _ summary: String, syntax: String = "",
            _ handler: @escaping Command.Handler
        ) -> Command {
            Command(
                "client|" + name, arity, [.noScript, .loading, .stale, .ignoresPause],
                group: "connection", since: since, summary, syntax: syntax, handler)
        }
        return [
            row("id", 2, since: "5.0.0", "Number of the connection.", id),
            row("info", 2, since: "6.2.0", "What is known of the connection.", info)
                .tips("nondeterministic_output"),
            row("getname", 2, since: "2.6.9", "Name of the connection.", getName),
            row("setname", 3, since: "2.6.9", "Names the connection.", syntax: "connection-name",
                setName),
            row("setinfo", 4, since: "7.2.0", "Says which library the client uses.",
                syntax: "<LIB-NAME libname | LIB-VER libver>", setInfo),
            row("reply", 3, since: "3.2.0", "Turns replies off or on.", syntax: "<ON | OFF | SKIP>",
                setReply),
            row("no-touch", 3, since: "7.2.0", "Reads do not make keys look used.",
                syntax: "<ON | OFF>", noTouch),
        ]
    }

    /// Subcommands about other connections.
    private static func othersRows() -> [Command] {
        func row(
            _ name: String, _ arity: Int, since: String, complexity: String = "O(1)",
            _ summary: String, syntax: String = "", _ handler: @escaping Command.Handler
        ) -> Command {
            Command(
                "client|" + name, arity,
                [.admin, .noScript, .loading, .stale, .ignoresPause, .stopsWorld],
                group: "connection", since: since, complexity: complexity, summary,
                syntax: syntax, handler)
        }
        let all = "O(N) where N is the number of client connections"
        return [
            row("no-evict", 3, since: "7.0.0", "Keeps the connection when memory is short.",
                syntax: "<ON | OFF>", noEvict),
            row("list", -2, since: "2.4.0", complexity: all, "What is known of all connections.",
                syntax: """
                    [TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]] \
                    [USER username] [ADDR ip:port] [LADDR ip:port] [MAXAGE maxage] [SKIPME <YES | NO>]
                    """, list)
                .tips("nondeterministic_output"),
            row("kill", -3, since: "2.4.0", complexity: all, "Closes connections.",
                syntax: """
                    <ip:port | [ID client-id] [TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] \
                    [USER username] [ADDR ip:port] [LADDR ip:port] [SKIPME <YES | NO>] [MAXAGE maxage]>
                    """, kill),
            row("pause", -3, since: "2.9.50", "Lets clients wait for some time.",
                syntax: "timeout [WRITE | ALL]", pause),
            row("unblock", -3, since: "5.0.0",
                complexity: "O(log N) where N is the number of client connections",
                "Unblock a client blocked in a blocking command from a different connection",
                syntax: "client-id [TIMEOUT | ERROR]", unblock),
            row("unpause", 2, since: "6.2.0",
                complexity: "O(N) Where N is the number of paused clients",
                "Lets waiting clients go on.", unpause),
        ]
    }

    private static let helpLines = [
        "GETREDIR", "    Connection invalidation messages are redirected to, or -1.",
        "GETNAME", "    Name of this connection.",
        "ID", "    Number of this connection.",
        "INFO", "    What is known of this connection.",
        "KILL <ip:port>", "    Close the connection made from <ip:port>.",
        "KILL <option> <value> [<option> <value> [...]]", "    Close connections. Options are:",
        "    * ADDR (<ip:port>|<unixsocket>:0)", "      Made from this address",
        "    * LADDR (<ip:port>|<unixsocket>:0)", "      Made to this local address",
        "    * ID <client-id>", "      With this number",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)", "      Of this type",
        "    * USER <username>", "      Authenticated as this user",
        "    * SKIPME (YES|NO)", "      Spare this connection (default: yes).",
        "LIST [options ...]", "    What is known of all connections. Options:",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)", "      Only of this type.",
        "    * ID <client-id> [...]", "      Only these.",
        "NO-EVICT (ON|OFF)", "    Keep this connection when memory is short.",
        "NO-TOUCH (ON|OFF)", "    Reads by this connection do not make keys look used.",
        "PAUSE <timeout> [WRITE|ALL]", "    Let all, or only writing, clients wait <timeout> ms.",
        "REPLY (ON|OFF|SKIP)", "    Whether this connection gets replies.",
        "SETINFO <option> <value>", "    Say which library the client uses (LIB-NAME, LIB-VER).",
        "SETNAME <name>", "    Name this connection.",
        "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
        "         [OPTIN] [OPTOUT] [NOLOOP]", "    Tell this connection when keys it has read change.",
        "TRACKINGINFO", "    Whether this connection tracks keys.",
        "UNBLOCK <clientid> [TIMEOUT|ERROR]", "    Let a connection wait no more.",
        "UNPAUSE", "    Let waiting clients go on.",
    ]

    // MARK: This connection

    static func id(_ call: Call) throws(CommandError) { call.reply.integer(call.session.id) }

    static func info(_ call: Call) throws(CommandError) {
        call.verbatim(describe(call.session, call) + "\n")
    }

    static func getName(_ call: Call) throws(CommandError) {
        if call.session.name.isEmpty { call.reply.null() } else { call.bulk(call.session.name) }
    }

    static func setName(_ call: Call) throws(CommandError) {
        try setName(call.session, call.arguments[2])
        call.reply.ok()
    }

    static func setName(_ session: Session, _ name: ByteView) throws(CommandError) {
        guard isPrintable(name) else {
            throw .message("""
                ERR Client names cannot contain spaces, newlines or special characters.
                """)
        }
        session.name = name.text
    }

    private static func isPrintable(_ text: ByteView) -> Bool {
        text.buffer.allSatisfy { $0 > 32 && $0 < 127 }
    }

    /// CLIENT SETINFO LIB-NAME name | LIB-VER version → OK (Redis 7.2).
    static func setInfo(_ call: Call) throws(CommandError) {
        let option = call.option(2)
        guard option == "lib-name" || option == "lib-ver" else {
            throw .message("ERR Unrecognized option '\(call.word(2))'")
        }
        guard isPrintable(call.arguments[3]) else {
            throw .message("""
                ERR \(call.word(2)) cannot contain spaces, newlines or special characters.
                """)
        }
        if option == "lib-name" {
            call.session.libraryName = call.word(3)
        } else {
            call.session.libraryVersion = call.word(3)
        }
        call.reply.ok()
    }

    /// CLIENT REPLY ON → OK; OFF and SKIP → nothing at all.
    static func setReply(_ call: Call) throws(CommandError) {
        switch call.option(2) {
        case "on":
            call.session.replyMode = .on
            call.reply.ok()
        case "off": call.session.replyMode = .off
        case "skip": if call.session.replyMode != .off { call.session.replyMode = .skipNext }
        default: throw .syntax
        }
    }

    static func noTouch(_ call: Call) throws(CommandError) {
        call.session.noTouch = try isOn(call)
        call.reply.ok()
    }

    static func noEvict(_ call: Call) throws(CommandError) {
        call.session.noEvict = try isOn(call)
        call.reply.ok()
    }

    private static func isOn(_ call: Call) throws(CommandError) -> Bool {
        switch call.option(2) {
        case "on": true
        case "off": false
        default: throw .syntax
        }
    }

    // MARK: All connections

    /// CLIENT LIST [filter …] → one line a connection, oldest first, or in the order of the IDs asked for.
    static func list(_ call: Call) throws(CommandError) {
        let filter = try ClientFilter(call, listing: true)
        var sessions = filter.matching(call.server.sessions, caller: call.session)
        if let wanted = filter.onlyIDs {
            sessions = wanted.compactMap { id in sessions.first { $0.id == id } }
        }
        call.verbatim(sessions.map { describe($0, call) + "\n" }.joined())
    }

    /// One line of CLIENT LIST, in Redis 7.0's fields.
    static func describe(_ session: Session, _ call: Call) -> String {
        let isCaller = session === call.session
        let idle = isCaller ? 0 : max(0, call.now - session.lastCommandAt) / 1000
        let command = isCaller ? call.command.name : session.lastCommandName
        let free = max(0, session.inputCapacity - session.queuedInput)
        var fields = [
            "id=\(session.id)", "addr=\(session.peerAddress)", "laddr=\(session.localAddress)",
            "fd=\(session.descriptor)", "name=\(session.name)",
            "age=\(max(0, call.now - session.createdAt) / 1000)", "idle=\(idle)",
            "flags=\(flags(session))", "db=\(session.database)",
            "sub=\(session.subscriptions?[.channel].count ?? 0)",
            "psub=\(session.subscriptions?[.pattern].count ?? 0)",
            "ssub=\(session.subscriptions?[.shardChannel].count ?? 0)",
            "multi=\(queued(session))", "qbuf=\(session.queuedInput)", "qbuf-free=\(free)", "argv-mem=0",
            "multi-mem=\(queued(session) < 0 ? 0 : session.transaction?.requests.byteCount ?? 0)",
            "rbs=\(session.output.capacity)", "rbp=\(session.output.capacity)",
            "obl=\(session.output.count)", "oll=0", "omem=\(session.unsentBytes)",
            "tot-mem=\(session.memory)", "events=\(session.unsentBytes > 0 ? "rw" : "r")",
            "cmd=\(command)", "user=default",
            "redir=\(TrackingCommands.redirection(session))", "resp=\(session.version.rawValue)",
        ]
        // Redis 7.2's fields, for clients that use them.
        if !session.libraryName.isEmpty || !session.libraryVersion.isEmpty {
            fields += ["lib-name=\(session.libraryName)", "lib-ver=\(session.libraryVersion)"]
        }
        return fields.joined(separator: " ")
    }

    /// Commands queued, or -1 outside a transaction.
    private static func queued(_ session: Session) -> Int {
        session.modes.contains(.inTransaction) ? session.transaction?.count ?? 0 : -1
    }

    private static func flags(_ session: Session) -> String {
        var flags = ""
        if session.modes.contains(.monitors) { flags += "O" }
        if session.isSubscriber { flags += "P" }
        if session.modes.contains(.inTransaction) { flags += "x" }
        if session.wait == .reads || session.wait == .memory || session.wait == .keys { flags += "b" }
        if let tracking = session.tracking {
            flags += "t"
            if tracking.isRedirectBroken { flags += "R" }
            if tracking.options.contains(.broadcast) { flags += "B" }
        }
        if session.watch?.isDirty ?? false { flags += "d" }
        if session.closesAfterReply { flags += "c" }
        if session.isKilled { flags += "A" }
        if session.peerAddress.hasSuffix(":0") { flags += "U" }
        if session.noEvict { flags += "e" }
        if session.noTouch { flags += "T" }
        return flags.isEmpty ? "N" : flags
    }

    // MARK: KILL and PAUSE

    /// CLIENT KILL addr → OK; CLIENT KILL option value … → how many.
    static func kill(_ call: Call) throws(CommandError) {
        if call.wordCount == 3 {
            let address = call.word(2)
            guard let victim = call.server.sessions.first(where: { $0.peerAddress == address })
            else { throw .message("ERR No such client") }
            end(victim, call)
            call.server.wakeLoops()
            call.reply.ok()
            return
        }
        let filter = try ClientFilter(call, listing: false)
        let victims = filter.matching(call.server.sessions, caller: call.session)
        for session in victims { end(session, call) }
        if !victims.isEmpty { call.server.wakeLoops() }
        call.reply.integer(victims.count)
    }

    /// The caller still gets its reply.
    private static func end(_ session: Session, _ call: Call) {
        if session === call.session {
            session.closesAfterReply = true
        } else {
            session.isKilled = true
        }
    }

    /// CLIENT PAUSE milliseconds [WRITE | ALL] → OK. A pause in force only ever grows.
    static func pause(_ call: Call) throws(CommandError) {
        var onlyWrites = false
        if call.wordCount > 4 { throw .message("ERR CLIENT PAUSE mode must be WRITE or ALL") }
        if call.wordCount == 4 {
            switch call.option(3) {
            case "write": onlyWrites = true
            case "all": break
            default: throw .message("ERR CLIENT PAUSE mode must be WRITE or ALL")
            }
        }
        let time = try call.integer(2, orFail: "ERR timeout is not an integer or out of range")
        if time < 0 { throw .message("ERR timeout is negative") }
        let (end, overflow) = call.now.addingReportingOverflow(time)
        if overflow { throw .message("ERR timeout is out of range") }
        let server = call.server
        if server.pauseEnd > call.now {
            server.pausesOnlyWrites = server.pausesOnlyWrites && onlyWrites
            server.pauseEnd = max(server.pauseEnd, end)
        } else {
            server.pausesOnlyWrites = onlyWrites
            server.pauseEnd = end
        }
        call.reply.ok()
    }

    /// CLIENT UNBLOCK id [TIMEOUT | ERROR] → whether the client was waiting.
    static func unblock(_ call: Call) throws(CommandError) {
        var withError = false
        if call.wordCount > 4 {
            throw .message("""
                ERR unknown subcommand or wrong number of arguments for '\(call.word(1))'. Try CLIENT HELP.
                """)
        }
        if call.wordCount == 4 {
            switch call.option(3) {
            case "timeout": break
            case "error": withError = true
            default: throw .message("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
            }
        }
        let id = try call.integer(2)
        guard let session = call.server.sessions.first(where: { $0.id == id }), let waiter = session.waiter,
            waiter.take(.cancelled)
        else { return call.reply.integer(0) }
        call.server.fronts[waiter.client.loop].post(.unblock(waiter, withError: withError))
        call.reply.integer(1)
    }

    static func unpause(_ call: Call) throws(CommandError) {
        call.server.pauseEnd = 0
        call.server.wakeLoops()
        call.reply.ok()
    }
}
