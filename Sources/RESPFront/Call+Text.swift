import Primitives
import RESPWire
import TieredStore

/// Replies and words as text: for commands people type, not for values.
extension Call {
    /// A status line.
    func simple(_ text: String) { Array(text.utf8).withView { reply.simple($0) } }

    /// Text for people: verbatim in RESP3.
    func verbatim(_ text: String) { Array(text.utf8).withView { reply.verbatim("txt", $0) } }

    /// Word `i` in lower case.
    func option(_ i: Int) -> String { arguments[i].lowercasedText }

    func word(_ i: Int) -> String { arguments[i].text }

    /// What HELP answers: lines of a container's subcommands.
    func help(_ lines: [String]) {
        let container = word(0).uppercased()
        let first = "\(container) <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
        let all = [first] + lines + ["HELP", "    Prints this help."]
        reply.array(all.count)
        for line in all { simple(line) }
    }

    /// Word `i` as an integer, or the error.
    func integer(
        _ i: Int, orFail message: String = "ERR value is not an integer or out of range"
    ) throws(CommandError) -> Int64 {
        guard let value = Decimal.int64(arguments[i]) else { throw .message(message) }
        return value
    }
}

extension Command {
    /// A HELP subcommand.
    static func help(
        _ container: String, since: String, group: String = "server", _ lines: [String]
    ) -> Command {
        Command(
            "\(container)|help", 2, [.loading, .stale], group: group, since: since,
            "Lists the subcommands.") { call throws(CommandError) in call.help(lines) }
    }
}
