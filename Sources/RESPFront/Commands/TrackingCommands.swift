import Primitives
import RESPWire
import TieredStore

/// CLIENT TRACKING and what belongs to it: keys in clients' caches (Redis 7.0).
enum TrackingCommands {
    static func rows() -> [Command] {
        func row(
            _ name: String, _ arity: Int, _ own: CommandFlags = [], since: String,
            complexity: String = "O(1)", _ summary: String, syntax: String = "",
            _ handler: @escaping Command.Handler
        ) -> Command {
            Command(
                "client|" + name, arity, own.union([.noScript, .loading, .stale, .ignoresPause]),
                group: "connection", since: since, complexity: complexity, summary, syntax: syntax,
                handler)
        }
        return [
            // Stops the world to see whether the client named by REDIRECT is there.
            row("tracking", -3, [.stopsWorld], since: "6.0.0",
                complexity: "O(1). Some options may introduce additional complexity.",
                "Enable or disable server assisted client side caching support",
                syntax: """
                    <ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] \
                    [OPTIN] [OPTOUT] [NOLOOP]
                    """, tracking),
            row("caching", 3, since: "6.0.0",
                "Instruct the server about tracking or not keys in the next request",
                syntax: "<YES | NO>", caching),
            row("getredir", 2, since: "6.0.0", "Get tracking notifications redirection client ID if any",
                redirection),
            row("trackinginfo", 2, since: "6.2.0",
                "Return information about server assisted client side caching for the current connection",
                information),
        ]
    }

    private struct Wanted {
        var options: Tracking.Options = []
        var redirect: ClientAddress?
        var prefixes: [[UInt8]] = []
    }

    private static func options(_ call: Call) throws(CommandError) -> Wanted {
        var wanted = Wanted()
        var i = 3
        while i < call.wordCount {
            let hasMore = i + 1 < call.wordCount
            switch call.option(i) {
            case "redirect" where hasMore:
                i += 1
                if wanted.redirect != nil {
                    throw .message("ERR A client can only redirect to a single other client")
                }
                let id = try call.integer(i)
                guard let (front, session) = find(id, call.server) else {
                    throw .message("ERR The client ID you want redirect to does not exist")
                }
                wanted.redirect = front.address(of: session)
            case "bcast": wanted.options.insert(.broadcast)
            case "optin": wanted.options.insert(.optIn)
            case "optout": wanted.options.insert(.optOut)
            case "noloop": wanted.options.insert(.noLoop)
            case "prefix" where hasMore:
                i += 1
                wanted.prefixes.append(call.arguments[i].array)
            default: throw .syntax
            }
            i += 1
        }
        return wanted
    }

    private static func find(_ id: Int64, _ server: ServerState) -> (Front, Session)? {
        for front in server.fronts {
            for case let session? in front.sessions where session.id == id { return (front, session) }
        }
        return nil
    }

    static func tracking(_ call: Call) throws(CommandError) {
        var wanted = try options(call)
        let session = call.session
        switch call.option(2) {
        case "off": call.front.stopTracking(session)
        case "on":
            if !wanted.options.contains(.broadcast), !wanted.prefixes.isEmpty {
                throw .message("ERR PREFIX option requires BCAST mode to be enabled")
            }
            try checkSwitch(session.tracking, wanted.options)
            if wanted.options.contains(.broadcast) { try checkPrefixes(session.tracking, wanted.prefixes) }
            if wanted.options.contains(.broadcast), wanted.prefixes.isEmpty { wanted.prefixes = [[]] }
            start(call, session, wanted)
        default: throw .syntax
        }
        call.reply.ok()
    }

    private static func checkSwitch(
        _ old: Tracking?, _ new: Tracking.Options
    ) throws(CommandError) {
        let after = "before disabling tracking for this client, and then re-enabling it with a different "
            + "mode."
        if let old, old.options.contains(.broadcast) != new.contains(.broadcast) {
            throw .message("ERR You can't switch BCAST mode on/off " + after)
        }
        if new.contains(.broadcast), !new.isDisjoint(with: [.optIn, .optOut]) {
            throw .message("ERR OPTIN and OPTOUT are not compatible with BCAST")
        }
        if new.isSuperset(of: [.optIn, .optOut]) {
            throw .message("ERR You can't specify both OPTIN mode and OPTOUT mode")
        }
        if let old, new.contains(.optIn) && old.options.contains(.optOut)
            || new.contains(.optOut) && old.options.contains(.optIn) {
            throw .message("ERR You can't switch OPTIN/OPTOUT mode " + after)
        }
    }

    private static func checkPrefixes(_ old: Tracking?, _ new: [[UInt8]]) throws(CommandError) {
        func overlap(_ a: [UInt8], _ b: [UInt8]) -> Bool { a.starts(with: b) || b.starts(with: a) }
        func refused(_ a: [UInt8], _ b: [UInt8], _ what: String) -> CommandError {
            let (a, b) = (String(decoding: a, as: UTF8.self), String(decoding: b, as: UTF8.self))
            return .message("""
                ERR Prefix '\(a)' overlaps with \(what) prefix '\(b)'. Prefixes for a single client must \
                not overlap.
                """)
        }
        for (i, prefix) in new.enumerated() {
            for other in old?.prefixes ?? [] where overlap(prefix, other) {
                throw refused(prefix, other, "an existing")
            }
            for other in new[(i + 1)...] where overlap(prefix, other) {
                throw refused(prefix, other, "another provided")
            }
        }
    }

    private static func start(_ call: Call, _ session: Session, _ wanted: Wanted) {
        var tracking = session.tracking ?? Tracking(options: [])
        if session.tracking == nil { call.server.audience.add(1, to: .trackers) }
        tracking.options = wanted.options
        tracking.redirect = wanted.redirect
        tracking.isRedirectBroken = false
        let client = call.front.address(of: session)
        for prefix in wanted.prefixes where tracking.prefixes.insert(prefix).inserted {
            call.server.broadcasts.add(prefix, BroadcastPrefixes.Listener(
                client: client, noLoop: wanted.options.contains(.noLoop)))
        }
        session.tracking = tracking
    }

    /// CLIENT CACHING YES | NO → OK.
    static func caching(_ call: Call) throws(CommandError) {
        guard let tracking = call.session.tracking else {
            throw .message("""
                ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or \
                OPTOUT mode enabled
                """)
        }
        switch call.option(2) {
        case "yes":
            guard tracking.options.contains(.optIn) else {
                throw .message(
                    "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
            }
            call.session.tracking!.caching = true
        case "no":
            guard tracking.options.contains(.optOut) else {
                throw .message(
                    "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
            }
            call.session.tracking!.caching = false
        default: throw .syntax
        }
        call.reply.ok()
    }

    /// CLIENT GETREDIR → the client's number, 0 for none, -1 without tracking.
    static func redirection(_ call: Call) throws(CommandError) {
        call.reply.integer(redirection(call.session))
    }

    static func redirection(_ session: Session) -> Int64 {
        session.tracking.map { $0.redirect?.id ?? 0 } ?? -1
    }

    static func information(_ call: Call) throws(CommandError) {
        call.reply.map(3)
        call.reply.bulk("flags")
        let flags = flags(call.session.tracking)
        call.reply.set(flags.count)
        for flag in flags { call.reply.bulk(flag) }
        call.reply.bulk("redirect")
        call.reply.integer(redirection(call.session))
        call.reply.bulk("prefixes")
        let prefixes = (call.session.tracking?.prefixes ?? []).sorted { $0.lexicographicallyPrecedes($1) }
        call.reply.array(prefixes.count)
        for prefix in prefixes { prefix.withView { call.reply.bulk($0) } }
    }

    private static func flags(_ tracking: Tracking?) -> [StaticString] {
        guard let tracking else { return ["off"] }
        var flags: [StaticString] = ["on"]
        if tracking.options.contains(.broadcast) { flags.append("bcast") }
        if tracking.options.contains(.optIn) {
            flags.append("optin")
            if tracking.caching == true { flags.append("caching-yes") }
        }
        if tracking.options.contains(.optOut) {
            flags.append("optout")
            if tracking.caching == false { flags.append("caching-no") }
        }
        if tracking.options.contains(.noLoop) { flags.append("noloop") }
        if tracking.isRedirectBroken { flags.append("broken_redirect") }
        return flags
    }
}
