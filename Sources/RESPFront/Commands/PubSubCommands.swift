import Primitives
import RESPWire
import TieredStore

/// Publishing and subscribing.
enum PubSubCommands {
    static func rows() -> [Command] { subscribing() + publishing() + [introspection()] }

    private static func row(
        _ name: String, _ arity: Int, keys: Command.Keys = .none, _ flags: CommandFlags, since: String,
        complexity: String = "O(1)", _ summary: String, syntax: String = "",
        _ handler: @escaping Command.Handler
    ) -> Command {
        Command(
            name, arity, keys: keys, needs: .metadata, flags, group: "pubsub", since: since,
            complexity: complexity, summary, syntax: syntax, handler)
    }

    private static func subscribing() -> [Command] {
        let flags: CommandFlags = [.pubsub, .noScript, .loading, .stale]
        let each = "O(N) where N is the number of "
        let channels = Command.Keys.channels(first: 1, last: -1, step: 1)
        return [
            row("subscribe", -2, flags, since: "2.0.0",
                complexity: each + "channels to subscribe to.",
                "Listen for messages published to the given channels", syntax: "channel [channel ...]") {
                call throws(CommandError) in subscribe(call, .channel, "subscribe")
            },
            row("unsubscribe", -1, flags, since: "2.0.0",
                complexity: each + "clients already subscribed to a channel.",
                "Stop listening for messages posted to the given channels",
                syntax: "[channel [channel ...]]") {
                call throws(CommandError) in unsubscribe(call, .channel, "unsubscribe")
            },
            row("psubscribe", -2, flags, since: "2.0.0",
                complexity: each + "patterns the client is already subscribed to.",
                "Listen for messages published to channels matching the given patterns",
                syntax: "pattern [pattern ...]") {
                call throws(CommandError) in subscribe(call, .pattern, "psubscribe")
            },
            row("punsubscribe", -1, flags, since: "2.0.0",
                complexity: "O(N+M) where N is the number of patterns the client is already subscribed and "
                    + "M is the number of total patterns subscribed in the system (by any client).",
                "Stop listening for messages posted to channels matching the given patterns",
                syntax: "[pattern [pattern ...]]") {
                call throws(CommandError) in unsubscribe(call, .pattern, "punsubscribe")
            },
            row("ssubscribe", -2, keys: channels, flags, since: "7.0.0",
                complexity: each + "shard channels to subscribe to.",
                "Listen for messages published to the given shard channels",
                syntax: "shardchannel [shardchannel ...]") {
                call throws(CommandError) in
                if call.isInside {
                    throw .message("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client")
                }
                subscribe(call, .shardChannel, "ssubscribe")
            },
            row("sunsubscribe", -1, keys: channels, flags, since: "7.0.0",
                complexity: each + "clients already subscribed to a shard channel.",
                "Stop listening for messages posted to the given shard channels",
                syntax: "[shardchannel [shardchannel ...]]") {
                call throws(CommandError) in unsubscribe(call, .shardChannel, "sunsubscribe")
            },
        ]
    }

    private static func publishing() -> [Command] {
        let flags: CommandFlags = [.pubsub, .loading, .stale, .fast, .mayReplicate]
        return [
            row("publish", 3, flags, since: "2.0.0",
                complexity: "O(N+M) where N is the number of clients subscribed to the receiving channel "
                    + "and M is the total number of subscribed patterns (by any client).",
                "Post a message to a channel", syntax: "channel message") {
                call throws(CommandError) in publish(call, .channel)
            },
            row("spublish", 3, keys: .channels(first: 1, last: 1, step: 1), flags, since: "7.0.0",
                complexity: "O(N) where N is the number of clients subscribed to the receiving shard "
                    + "channel.",
                "Post a message to a shard channel", syntax: "shardchannel message") {
                call throws(CommandError) in publish(call, .shardChannel)
            },
        ]
    }

    private static func introspection() -> Command {
        func sub(
            _ name: String, _ arity: Int, since: String, complexity: String, _ summary: String,
            syntax: String = "", _ handler: @escaping Command.Handler
        ) -> Command {
            row("pubsub|" + name, arity, [.pubsub, .loading, .stale], since: since,
                complexity: complexity, summary, syntax: syntax, handler)
        }
        let assuming = ", and assuming constant time pattern matching (relatively short "
        return .container(
            "pubsub", group: "pubsub", since: "2.8.0", "A container for Pub/Sub commands", [
            sub("channels", -2, since: "2.8.0",
                complexity: "O(N) where N is the number of active channels" + assuming
                    + "channels and patterns)",
                "List active channels", syntax: "[pattern]") {
                call throws(CommandError) in try list(call, .channel)
            },
            sub("numpat", 2, since: "2.8.0", complexity: "O(1)",
                "Get the count of unique patterns pattern subscriptions") {
                call throws(CommandError) in
                call.reply.integer(call.server.pubsub.nameCount(.pattern))
            },
            sub("numsub", -2, since: "2.8.0",
                complexity: "O(N) for the NUMSUB subcommand, where N is the number of requested channels",
                "Get the count of subscribers for channels", syntax: "[channel [channel ...]]") {
                call throws(CommandError) in count(call, .channel)
            },
            sub("shardchannels", -2, since: "7.0.0",
                complexity: "O(N) where N is the number of active shard channels" + assuming
                    + "shard channels).",
                "List active shard channels", syntax: "[pattern]") {
                call throws(CommandError) in try list(call, .shardChannel)
            },
            sub("shardnumsub", -2, since: "7.0.0",
                complexity: "O(N) for the SHARDNUMSUB subcommand, where N is the number of requested "
                    + "shard channels",
                "Get the count of subscribers for shard channels",
                syntax: "[shardchannel [shardchannel ...]]") {
                call throws(CommandError) in count(call, .shardChannel)
            },
            Command.help("pubsub", since: "6.2.0", group: "pubsub", [
                "CHANNELS [<pattern>]",
                "    Return the currently active channels matching a <pattern> (default: '*').",
                "NUMPAT", "    Return number of subscriptions to patterns.",
                "NUMSUB [<channel> ...]",
                "    Return the number of subscribers for the specified channels, excluding",
                "    pattern subscriptions(default: no channels).",
                "SHARDCHANNELS [<pattern>]",
                "    Return the currently active shard level channels matching a <pattern> "
                    + "(default: '*').",
                "SHARDNUMSUB [<shardchannel> ...]",
                "    Return the number of subscribers for the specified shard level channel(s)",
            ]),
        ])
    }

    // MARK: Handlers

    /// One reply for each name.
    private static func subscribe(_ call: Call, _ kind: PubSub.Kind, _ verb: StaticString) {
        for i in 1..<call.wordCount {
            call.front.subscribe(call.session, kind, call.arguments[i].array)
            confirm(call, kind, verb, call.arguments[i])
        }
    }

    /// The same; without names, for all there are, or one null if there are none.
    private static func unsubscribe(_ call: Call, _ kind: PubSub.Kind, _ verb: StaticString) {
        if call.wordCount > 1 {
            for i in 1..<call.wordCount {
                call.front.unsubscribe(call.session, kind, call.arguments[i].array)
                confirm(call, kind, verb, call.arguments[i])
            }
            return
        }
        let names = call.session.subscriptions?[kind] ?? []
        for name in names {
            call.front.unsubscribe(call.session, kind, name)
            name.withView { confirm(call, kind, verb, $0) }
        }
        if names.isEmpty { confirm(call, kind, verb, nil) }
    }

    private static func confirm(
        _ call: Call, _ kind: PubSub.Kind, _ verb: StaticString, _ name: ByteView?
    ) {
        call.reply.push(3)
        call.reply.bulk(verb)
        if let name { call.reply.bulk(name) } else { call.reply.null() }
        call.reply.integer(call.session.subscriptions?.count(with: kind) ?? 0)
    }

    private static func publish(_ call: Call, _ kind: PubSub.Kind) {
        guard call.server.pubsub.hasSubscribers else { return call.reply.integer(0) }
        var place = call.session.output.count
        let receivers = call.front.publish(
            kind, call.arguments[1].array, call.arguments[2].array, place: &place)
        call.reply.integer(receivers)
    }

    private static func list(_ call: Call, _ kind: PubSub.Kind) throws(CommandError) {
        if call.wordCount > 3 {
            throw .message("""
                ERR unknown subcommand or wrong number of arguments for '\(call.word(1))'. Try PUBSUB HELP.
                """)
        }
        let names = call.server.pubsub.names(
            kind, matching: call.wordCount == 3 ? call.arguments[2] : nil)
        call.reply.array(names.count)
        for name in names { name.withView { call.reply.bulk($0) } }
    }

    private static func count(_ call: Call, _ kind: PubSub.Kind) {
        call.reply.array(2 * (call.wordCount - 2))
        for i in 2..<max(2, call.wordCount) {
            call.reply.bulk(call.arguments[i])
            call.reply.integer(call.server.pubsub.count(kind, call.arguments[i].array))
        }
    }
}
