import Primitives
import RESPWire

/// Where a command's keys are and what it does to them, as COMMAND INFO tells (Redis 7.0).
///
/// Most rows have none: it follows from their keys, flags and need. A row whose keys differ from each
/// other, or whose flags do not tell what it does, says so with `Command.specs` or `Command.access`.
public struct KeySpec: Sendable {
    enum Begin { case index(Int), keyword(String, from: Int), unknown }
    enum Find {
        /// Up to `last` words after the first key (negative: from the end), every `step` words; `limit`
        /// divides the words there are.
        case range(last: Int, step: Int, limit: Int)
        /// A word says how many keys follow: counted from where the search began.
        case counted(at: Int, first: Int, step: Int)
        case unknown
    }

    let begin: Begin
    let find: Find
    /// Redis's words: "RO access", "OW update".
    let access: [String]

    private init(_ begin: Begin, _ find: Find, _ access: String) {
        self.begin = begin
        self.find = find
        self.access = access.split(separator: " ").map(String.init)
    }

    /// The one key at a word.
    public static func at(_ word: Int, _ access: String) -> KeySpec {
        KeySpec(.index(word), .range(last: 0, step: 1, limit: 0), access)
    }

    /// Keys from a word on up to `last`, as in COMMAND INFO: negative from the end, else a word.
    public static func from(
        _ word: Int, through last: Int = -1, step: Int = 1, limit: Int = 0, _ access: String
    ) -> KeySpec {
        KeySpec(.index(word), .range(last: last < 0 ? last : last - word, step: step, limit: limit), access)
    }

    /// Word `at` says how many keys follow it.
    public static func counted(at word: Int, _ access: String) -> KeySpec {
        KeySpec(.index(word), .counted(at: 0, first: 1, step: 1), access)
    }

    /// The key after a keyword, looked for from a word on (negative: backwards from the end).
    public static func after(
        _ keyword: String, from word: Int, through last: Int = 0, limit: Int = 0, _ access: String
    ) -> KeySpec {
        KeySpec(.keyword(keyword, from: word), .range(last: last, step: 1, limit: limit), access)
    }

    /// Nobody can tell without knowing the command.
    public static func unknown(_ access: String) -> KeySpec { KeySpec(.unknown, .unknown, access) }

    /// Whether word `i` is one of these keys; for an unknown place, whether it may be.
    func covers(_ i: Int, _ words: Arguments) -> Bool {
        let first: Int
        switch begin {
        case .unknown: return true
        case .index(let word): first = word
        case .keyword(let keyword, let from):
            let start = from < 0 ? max(1, words.count + from) : from
            let range = from < 0
                ? Array((1...max(1, start)).reversed()) : Array(start..<max(start, words.count))
            guard let found = range.first(where: {
                $0 < words.count && words[$0].lowercasedText == keyword.lowercased()
            }) else { return false }
            first = found + 1
        }
        switch find {
        case .unknown: return true
        case .range(let last, let step, let limit):
            var end = last < 0 ? words.count + last : first + last
            if limit > 1, last < 0 { end = first + (words.count - first) / limit + last }
            return i >= first && i <= end && (i - first) % step == 0
        case .counted(let at, let offset, let step):
            guard first + at < words.count, let count = Decimal.int64(words[first + at]), count > 0,
                count <= Int64(words.count)
            else { return false }
            let start = first + offset
            return i >= start && i < start + Int(count) * step && (i - start) % step == 0
        }
    }
}

/// What a row says beyond its own line, for commands of which the rest cannot be derived.
extension Command {
    /// What the keys of the row are and what is done to them, where they are not all alike.
    func specs(_ specs: KeySpec...) -> Command {
        ownSpecs = specs
        return self
    }

    /// What is done to the keys, where flags and need do not tell.
    func access(_ words: String) -> Command {
        ownAccess = words.split(separator: " ").map(String.init)
        return self
    }

    /// Redis's hints for clients and proxies.
    func tips(_ tips: String...) -> Command {
        self.tips = tips
        return self
    }

    /// An old command that another has replaced.
    func deprecated(_ since: String, by replacement: String) -> Command {
        deprecation = (since, replacement)
        return self
    }

    /// A command for the server's own people: not for applications.
    func systemCommand() -> Command {
        isSystemCommand = true
        return self
    }

    /// Every specification, derived where the row has none of its own.
    var keySpecs: [KeySpec] {
        if !ownSpecs.isEmpty { return ownSpecs }
        let access = keyFlags.joined(separator: " ")
        if let (first, last, step) = keyRange {
            return [.from(first, through: last, step: step, access)]
        }
        if case .counted(let at) = keys { return [.counted(at: at, access)] }
        return hasMovableKeys ? [.unknown(access)] : []
    }

    /// The first and last key and the step of specifications that lie at fixed places one behind the
    /// other; nil when there are none.
    var specRange: (first: Int, last: Int, step: Int)? {
        var whole: (first: Int, last: Int, step: Int)?
        for spec in ownSpecs {
            guard case .index(let first) = spec.begin, case .range(let last, let step, _) = spec.find
            else { continue }
            let end = last < 0 ? last : first + last
            guard let before = whole else {
                whole = (first, end, step)
                continue
            }
            // Redis 7.0 joins what follows on without a gap.
            guard before.step == 1, step == 1, before.last >= 0, first == before.last + 1 else { break }
            whole = (before.first, end, 1)
        }
        return whole
    }
}
