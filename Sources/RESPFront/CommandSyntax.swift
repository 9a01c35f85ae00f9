/// A row's `syntax` as the arguments COMMAND DOCS lists.
///
///     [x]        optional             x ...       as often as one likes
///     <a | b>    one of               TOKEN x     x, announced by TOKEN
enum CommandSyntax {
    struct Argument {
        var name: String
        var type: String
        var token: String?
        var isOptional = false
        var isMultiple = false
        var parts: [Argument] = []
    }

    static func arguments(_ command: Command) -> [Argument] {
        var reader = Reader(command.syntax)
        return reader.sequence()
    }

    private struct Reader {
        private var words: [String]
        private var at = 0

        init(_ syntax: String) {
            var spaced = ""
            for letter in syntax {
                spaced += "[]<>|".contains(letter) ? " \(letter) " : String(letter)
            }
            words = spaced.split { $0 == " " || $0 == "\n" }.map(String.init)
        }

        private var next: String? { at < words.count ? words[at] : nil }

        private mutating func skip(_ word: String) -> Bool {
            guard next == word else { return false }
            at += 1
            return true
        }

        /// Arguments up to a closing bracket, a "|" or the end.
        mutating func sequence() -> [Argument] {
            var arguments: [Argument] = []
            while let word = next, word != "]", word != ">", word != "|" {
                guard let argument = self.argument() else { continue }
                // "key [key ...]" is one argument.
                if argument.isMultiple, argument.isOptional, let last = arguments.last,
                    last.name == argument.name, argument.token == nil || last.token == argument.token {
                    arguments[arguments.count - 1].isMultiple = true
                } else if argument.isMultiple, argument.isOptional, !argument.parts.isEmpty,
                    arguments.suffix(argument.parts.count).map(\.name) == argument.parts.map(\.name)
                {
                    // "key value [key value ...]" is one block.
                    arguments.removeLast(argument.parts.count)
                    var block = argument
                    block.isOptional = false
                    arguments.append(block)
                } else {
                    arguments.append(argument)
                }
            }
            return arguments
        }

        private mutating func argument() -> Argument? {
            if skip("[") {
                var inner = choice(closing: "]")
                inner?.isOptional = true
                return inner
            }
            if skip("<") { return choice(closing: ">") }
            let word = words[at]
            at += 1
            if word == "..." { return nil }
            var argument: Argument
            if isToken(word) {
                argument = announced(by: word)
            } else {
                argument = Argument(name: name(word), type: type(of: word))
            }
            if skip("...") { argument.isMultiple = true }
            return argument
        }

        /// What follows a token, up to the next token: nothing, one value, or a block.
        private mutating func announced(by token: String) -> Argument {
            var parts: [Argument] = []
            while let word = next, !"]>|[".contains(word), !isToken(word), word != "..." {
                if word == "<", !parts.isEmpty { break }
                guard let part = argument() else { break }
                parts.append(part)
            }
            if parts.isEmpty {
                return Argument(name: name(token), type: "pure-token", token: token)
            }
            var argument = parts[0]
            if parts.count > 1 {
                argument = Argument(name: name(token), type: "block", parts: parts)
            }
            argument.token = token
            return argument
        }

        /// The inside of a bracket: one sequence, or several with "|" between them.
        private mutating func choice(closing: String) -> Argument? {
            var choices: [[Argument]] = []
            var repeats = false
            repeat {
                var inner = sequence()
                if words[..<at].last == "..." {
                    repeats = true
                    inner[inner.count - 1].isMultiple = false
                }
                choices.append(inner)
            } while skip("|")
            _ = skip(closing)
            let alternatives = choices.compactMap { $0.count == 1 ? $0[0] : block($0) }
            guard var only = alternatives.first else { return nil }
            if alternatives.count > 1 {
                only = Argument(
                    name: alternatives.map(\.name).joined(separator: "_"), type: "oneof",
                    parts: alternatives)
            }
            if repeats || skip("...") { only.isMultiple = true }
            return only
        }

        private func block(_ parts: [Argument]) -> Argument? {
            guard !parts.isEmpty else { return nil }
            return Argument(name: parts[0].name, type: "block", parts: parts)
        }

        private func isToken(_ word: String) -> Bool {
            if ["*", "$", "=", "~"].contains(word) { return true }
            return word.first?.isLetter == true && word == word.uppercased()
        }

        private func name(_ word: String) -> String { word.lowercased() }

        private func type(of word: String) -> String {
            if word.hasPrefix("unix-time") { return "unix-time" }
            switch word {
            case "key", "newkey", "source", "destination", "key1", "key2", "destkey", "sourcekey", "dst",
                "src":
                return "key"
            case "pattern": return "pattern"
            case "seconds", "milliseconds", "count", "increment-integer", "offset", "index",
                "cursor",
                "timeout", "decrement", "start", "end", "db", "destination-db", "numkeys",
                "client-id",
                "protover", "version", "index1", "index2", "len", "bytes":
                return "integer"
            default: return "string"
            }
        }
    }
}
