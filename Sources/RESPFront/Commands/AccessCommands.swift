import Primitives
import RESPWire
import TieredStore

/// ACL, for the one user there is: "default", who may do everything and whose password is requirepass.
enum AccessCommands {
    static func rows() -> [Command] {
        let admin: CommandFlags = [.admin, .noScript, .loading, .stale]
        let plain: CommandFlags = [.noScript, .loading, .stale]
        func sub(
            _ name: String, _ arity: Int, _ flags: CommandFlags, since: String = "6.0.0",
            _ summary: String, _ syntax: String, _ handler: @escaping Command.Handler
        ) -> Command {
            Command(
                "acl|" + name, arity, flags, group: "server", since: since, summary, syntax: syntax, handler)
        }
        return [Command.container("acl", group: "server", since: "6.0.0", "Users and what they may do.", [
            sub("whoami", 2, plain, "The user of this connection.", "") { call throws(CommandError) in
                call.reply.bulk("default")
            },
            sub("users", 2, admin, "Names of the users.", "") { call throws(CommandError) in
                call.reply.array(1)
                call.reply.bulk("default")
            },
            sub("list", 2, admin, "The users with their rules.", "", list),
            sub("getuser", 3, admin, "The rules of a user.", "username", getUser),
            sub("cat", -2, plain, "Categories, or the commands of one.", "[categoryname]", categories),
            sub("genpass", -2, plain, "A password nobody guesses.", "[bits]", generatePassword),
            sub("dryrun", -4, admin, since: "7.0.0", "Whether a user may run a command.",
                "username command [arg [arg ...]]", dryRun),
            sub("log", -2, admin, "What was refused.", "[count | RESET]", log),
            sub("setuser", -3, admin, "Changes a user.", "username [rule [rule ...]]", setUser),
            sub("deluser", -3, admin, "Deletes users.", "username [username ...]", deleteUsers),
            sub("load", 2, admin, "Reads the users' file.", "", noFile),
            sub("save", 2, admin, "Writes the users' file.", "", noFile),
            Command.help("acl", since: "6.0.0", [
                "CAT [<category>]", "    Categories, or the commands of one.",
                "DELUSER <username> [<username> ...]", "    Delete users; there is only the default user.",
                "DRYRUN <username> <command> [<arg> ...]", "    Whether a user may run a command.",
                "GETUSER <username>", "    The rules of a user.",
                "GENPASS [<bits>]", "    A random password (default: 256 bits).",
                "LIST", "    The users with their rules.",
                "LOAD", "    Read the users' file: an error, there is none.",
                "LOG [<count> | RESET]", "    What was refused: nothing ever is.",
                "SAVE", "    Write the users' file: an error, there is none.",
                "SETUSER <username> <attribute> [<attribute> ...]",
                "    Change a user: the default user keeps its rules.",
                "USERS", "    Names of the users.", "WHOAMI", "    The user of this connection.",
            ]),
        ])]
    }

    private static func passwordHash(_ call: Call) -> String? {
        let password = call.configuration.requirepass
        return password.isEmpty ? nil : password.withView { Digests.sha256($0) }
    }

    static func list(_ call: Call) throws(CommandError) {
        let password = passwordHash(call).map { "#" + $0 } ?? "nopass"
        call.reply.array(1)
        call.bulk("user default on \(password) ~* &* +@all")
    }

    /// ACL GETUSER name → map of its rules, or null.
    static func getUser(_ call: Call) throws(CommandError) {
        guard call.arguments[2] == ByteView("default") else { return call.reply.null() }
        let password = passwordHash(call)
        call.reply.map(6)
        call.reply.bulk("flags")
        call.reply.set(password == nil ? 2 : 1)
        call.reply.bulk("on")
        if password == nil { call.reply.bulk("nopass") }
        call.reply.bulk("passwords")
        call.reply.array(password == nil ? 0 : 1)
        if let password { call.bulk(password) }
        for (name, rule) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
            call.bulk(name)
            call.bulk(rule)
        }
        call.reply.bulk("selectors")
        call.reply.array(0)
    }

    /// ACL CAT [category] → names.
    static func categories(_ call: Call) throws(CommandError) {
        try requireAtMost(3, call)
        if call.wordCount == 2 {
            call.reply.array(Command.allCategories.count)
            for category in Command.allCategories { call.bulk(category) }
            return
        }
        let category = call.option(2)
        guard Command.allCategories.contains(category) else {
            throw .message("ERR Unknown category '\(call.word(2))'")
        }
        let names = call.front.table.rows.flatMap { [$0] + $0.subcommands }
            .filter { $0.categories.contains(category) }.map(\.name)
        call.reply.array(names.count)
        for name in names { call.bulk(name) }
    }

    private static func requireAtMost(_ words: Int, _ call: Call) throws(CommandError) {
        if call.wordCount > words {
            throw .message("""
                ERR unknown subcommand or wrong number of arguments for '\(call.word(1))'. Try ACL HELP.
                """)
        }
    }

    /// ACL GENPASS [bits] → hexadecimal digits.
    static func generatePassword(_ call: Call) throws(CommandError) {
        try requireAtMost(3, call)
        let bits = call.wordCount == 3 ? try call.integer(2) : 256
        guard bits > 0, bits <= 4096 else {
            throw .message("""
                ERR ACL GENPASS argument must be the number of bits for the output password, a positive \
                number up to 4096
                """)
        }
        // The kernel's random numbers: a password must not follow from a seed.
        var source = SystemRandomNumberGenerator()
        let digits = Array("0123456789abcdef")
        call.bulk(String((0..<(bits + 3) / 4).map { _ in digits.randomElement(using: &source)! }))
    }

    /// ACL DRYRUN default command … → OK: the user may do everything.
    static func dryRun(_ call: Call) throws(CommandError) {
        try requireDefault(call, call.arguments[2], "ERR User '\(call.word(2))' not found")
        let words = call.arguments.dropFirst(3)
        let second = words.count > 1 ? words[1] : nil
        guard let command = call.front.table.find(words[0], sub: second),
            second == nil || command.subcommands.isEmpty
        else {
            throw .message("ERR Command '\(call.word(3))' not found")
        }
        guard command.accepts(wordCount: words.count) else {
            throw .message("ERR wrong number of arguments for '\(command.name)' command")
        }
        call.reply.ok()
    }

    private static func requireDefault(
        _ call: Call, _ name: ByteView, _ message: String
    ) throws(CommandError) {
        guard name == ByteView("default") else { throw .message(message) }
    }

    static func log(_ call: Call) throws(CommandError) {
        try requireAtMost(3, call)
        if call.wordCount == 3, call.arguments[2].matches("reset") { return call.reply.ok() }
        if call.wordCount == 3 { _ = try call.integer(2) }
        call.reply.array(0)
    }

    /// ACL SETUSER default with rules it has already → OK.
    static func setUser(_ call: Call) throws(CommandError) {
        let only = """
            ERR tierd has only the user 'default', with all rights; CONFIG SET requirepass sets its password
            """
        let allowed = ["on", "~*", "allkeys", "&*", "allchannels", "+@all", "allcommands"]
        try requireDefault(call, call.arguments[2], only)
        for i in 3..<max(3, call.wordCount) {
            guard allowed.contains(call.option(i)) else { throw .message(only) }
        }
        call.reply.ok()
    }

    static func deleteUsers(_ call: Call) throws(CommandError) {
        for i in 2..<call.wordCount where call.arguments[i] == ByteView("default") {
            throw .message("ERR The 'default' user cannot be removed")
        }
        call.reply.integer(0)
    }

    static func noFile(_ call: Call) throws(CommandError) {
        throw .message("""
            ERR This Redis instance is not configured to use an ACL file. You may want to specify users via \
            the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis \
            configuration file set) in order to store users in the Redis configuration.
            """)
    }
}
