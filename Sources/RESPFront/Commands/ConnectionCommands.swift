import Primitives
import RESPWire
import TieredStore

/// AUTH, HELLO, PING, SELECT and the rest of the connection family.
enum ConnectionCommands {
    static func rows() -> [Command] {
        let greeting: CommandFlags = [.noScript, .loading, .stale, .fast, .noAuth, .allowBusy]
        return [
            Command(
                "auth", -2, greeting, group: "connection", since: "1.0.0",
                complexity: "O(N) where N is the number of passwords defined for the user",
                "Proves who the client is.", syntax: "[username] password", auth),
            Command(
                "hello", -1, greeting, group: "connection", since: "6.0.0",
                "Chooses the protocol version and describes the server.",
                syntax: "[protover [AUTH username password] [SETNAME clientname]]", hello),
            Command(
                "ping", -1, [.fast], group: "connection", since: "1.0.0",
                "Answers PONG or the given message.", syntax: "[message]", ping)
                .tips("request_policy:all_shards", "response_policy:all_succeeded"),
            Command(
                "echo", 2, [.loading, .stale, .fast], group: "connection", since: "1.0.0",
                "Answers the given message.", syntax: "message", echo),
            Command(
                "select", 2, [.loading, .stale, .fast], group: "connection", since: "1.0.0",
                "Chooses the logical database of the connection.", syntax: "index", select),
            Command(
                "quit", -1, greeting, group: "connection", since: "1.0.0",
                "Closes the connection.", quit),
            Command(
                "reset", 1, greeting, group: "connection", since: "6.2.0",
                "Puts the connection into the state of a new one.", reset),
        ] + ClientCommands.rows()
    }

    // MARK: Who the client is

    private static let wrongPassword = CommandError.message(
        "WRONGPASS invalid username-password pair or user is disabled.")

    /// AUTH [username] password → OK. Errors: WRONGPASS; without a password configured, the form
    /// that gives no user.
    static func auth(_ call: Call) throws(CommandError) {
        if call.wordCount > 3 { throw .syntax }
        if call.wordCount == 2 {
            if call.configuration.requirepass.isEmpty {
                throw .message("""
                    ERR AUTH <password> called without any password configured for the default \
                    user. Are you sure your configuration is correct?
                    """)
            }
            try authenticate(call, user: ByteView("default"), password: call.arguments[1])
        } else {
            try authenticate(call, user: call.arguments[1], password: call.arguments[2])
        }
        call.reply.ok()
    }

    private static func authenticate(
        _ call: Call, user: ByteView, password: ByteView
    ) throws(CommandError) {
        guard user == ByteView("default"), isPassword(password, call.configuration.requirepass)
        else { throw wrongPassword }
        call.session.setAuthenticated(true)
    }

    /// Looks at every byte whatever the first difference, so that time tells nothing. Without a
    /// password configured anything is right.
    private static func isPassword(_ given: ByteView, _ right: [UInt8]) -> Bool {
        if right.isEmpty { return true }
        var difference = given.count ^ right.count
        for i in 0..<given.count { difference |= Int(given[i] ^ right[i % right.count]) }
        return difference == 0
    }

    /// HELLO [protover [AUTH user pass] [SETNAME name]] → map of facts about the server.
    /// Errors: NOPROTO, WRONGPASS, NOAUTH.
    static func hello(_ call: Call) throws(CommandError) {
        let session = call.session
        let version = try protocolVersion(call)
        var credentials: (user: ByteView, password: ByteView)?
        var name: ByteView?
        var i = 2
        while i < call.wordCount {
            if call.arguments[i].matches("auth"), i + 2 < call.wordCount {
                credentials = (call.arguments[i + 1], call.arguments[i + 2])
                i += 3
            } else if call.arguments[i].matches("setname"), i + 1 < call.wordCount {
                name = call.arguments[i + 1]
                i += 2
            } else {
                throw .message("ERR Syntax error in HELLO option '\(call.word(i))'")
            }
        }
        if let (user, password) = credentials {
            try authenticate(call, user: user, password: password)
        }
        if !session.isAuthenticated {
            throw .message("""
                NOAUTH HELLO must be called with the client already authenticated, otherwise the \
                HELLO AUTH <user> <pass> option can be used to authenticate the client and select \
                the RESP protocol version at the same time
                """)
        }
        if let name { try ClientCommands.setName(session, name) }
        if let version { call.setVersion(version) }
        describeServer(call)
    }

    private static func protocolVersion(_ call: Call) throws(CommandError) -> ReplyWriter.Version? {
        guard call.wordCount > 1 else { return nil }
        let number = try call.integer(
            1, orFail: "ERR Protocol version is not an integer or out of range")
        guard let byte = UInt8(exactly: number), let version = ReplyWriter.Version(rawValue: byte)
        else { throw .message("NOPROTO unsupported protocol version") }
        return version
    }

    private static func describeServer(_ call: Call) {
        let reply = call.reply
        reply.map(7)
        reply.bulk("server")
        reply.bulk("redis")
        reply.bulk("version")
        call.bulk(Info.redisVersion)
        reply.bulk("proto")
        reply.integer(Int(call.session.version.rawValue))
        reply.bulk("id")
        reply.integer(call.session.id)
        reply.bulk("mode")
        reply.bulk("standalone")
        reply.bulk("role")
        reply.bulk("master")
        reply.bulk("modules")
        reply.array(0)
    }

    // MARK: The connection

    /// PING [message] → PONG or the message.
    static func ping(_ call: Call) throws(CommandError) {
        if call.wordCount > 2 {
            throw .message("ERR wrong number of arguments for 'ping' command")
        }
        if call.session.isSubscriber, call.session.version == .resp2 {
            call.reply.array(2)
            call.reply.bulk("pong")
            call.reply.bulk(call.wordCount == 2 ? call.arguments[1] : ByteView.empty)
        } else if call.wordCount == 2 {
            call.reply.bulk(call.arguments[1])
        } else {
            call.reply.simple("PONG")
        }
    }

    static func echo(_ call: Call) throws(CommandError) { call.reply.bulk(call.arguments[1]) }

    /// SELECT index → OK. Errors: not an integer, out of range.
    static func select(_ call: Call) throws(CommandError) {
        guard let index = Decimal.int64(call.arguments[1]), Int32(exactly: index) != nil else {
            throw .notAnInteger
        }
        guard index >= 0, index < Int64(call.configuration.databases) else {
            throw .message("ERR DB index is out of range")
        }
        call.session.database = Int(index)
        call.reply.ok()
    }

    /// QUIT → OK, and the connection closes.
    static func quit(_ call: Call) throws(CommandError) {
        call.reply.ok()
        call.session.closesAfterReply = true
    }

    /// RESET → RESET: RESP2, database 0, no name, not authenticated if a password is needed.
    static func reset(_ call: Call) throws(CommandError) {
        let session = call.session
        session.database = 0
        session.name = ""
        session.replyMode = .on
        session.noTouch = false
        call.front.leave(session)
        session.setAuthenticated(call.configuration.requirepass.isEmpty)
        call.setVersion(.resp2)
        call.reply.simple("RESET")
    }
}

extension Session {
    /// The parser takes larger requests from clients that are known.
    func setAuthenticated(_ yes: Bool) {
        isAuthenticated = yes
        parser.isAuthenticated = yes
    }
}

extension Call {
    /// This reply is the first in the new version.
    fileprivate func setVersion(_ version: ReplyWriter.Version) {
        session.version = version
        reply = ReplyWriter(session.output, version: version)
    }
}
