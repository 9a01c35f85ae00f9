import Primitives
import RESPWire
import TieredStore

/// Commands on ranges of a sorted set: by rank, by score, by member.
enum SortedSetRanges {
    static func rows() -> [Command] { reading() + writing() }

    private static let row = SortedSetCommands.row

    private static func reading() -> [Command] {
        let cost = "O(log(N)+M): members, members returned"
        let limit = " [LIMIT offset count]", scores = " [WITHSCORES]"
        func range(_ name: String, _ since: String, _ summary: String, _ syntax: String) -> Command {
            row(name, -4, .first, [.readonly], since, summary, syntax, cost, self.range)
        }
        return [
            range("zrange", "1.2.0", "Returns a range of members.",
                "key start stop [BYSCORE | BYLEX] [REV]" + limit + scores),
            range("zrevrange", "1.2.0", "Returns a range of members from the highest score on.",
                "key start stop" + scores).deprecated("6.2.0", by: "`ZRANGE` with the `REV` argument"),
            range("zrangebyscore", "1.0.5", "Returns members with scores in a range.",
                "key min max" + scores + limit)
                .deprecated("6.2.0", by: "`ZRANGE` with the `BYSCORE` argument"),
            range("zrevrangebyscore", "2.2.0",
                "Returns members with scores in a range, from the highest on.",
                "key max min" + scores + limit)
                .deprecated("6.2.0", by: "`ZRANGE` with the `REV` and `BYSCORE` arguments"),
            range("zrangebylex", "2.8.9", "Returns members between two texts.", "key min max" + limit)
                .deprecated("6.2.0", by: "`ZRANGE` with the `BYLEX` argument"),
            range("zrevrangebylex", "2.8.9", "Returns members between two texts, from the last on.",
                "key max min" + limit)
                .deprecated("6.2.0", by: "`ZRANGE` with the `REV` and `BYLEX` arguments"),
            row("zcount", 4, .first, [.readonly, .fast], "2.0.0", "Counts members with scores in a range.",
                "key min max", "O(log(N))", count),
            row("zlexcount", 4, .first, [.readonly, .fast], "2.8.9", "Counts members between two texts.",
                "key min max", "O(log(N))", count),
        ]
    }

    private static func writing() -> [Command] {
        let cost = "O(log(N)+M): members, members removed"
        return [
            row("zrangestore", -5, .range(first: 1, last: 2, step: 1), [.write, .growsMemory], "6.2.0",
                "Stores a range of members.",
                "dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
                "O(log(N)+M): members, members stored", range)
                .specs(.at(1, "OW update"), .at(2, "RO access")),
            row("zremrangebyrank", 4, .first, [.write], "2.0.0", "Removes members by rank.",
                "key start stop", cost, remove).access("RW delete"),
            row("zremrangebyscore", 4, .first, [.write], "1.2.0", "Removes members by score.",
                "key min max", cost, remove).access("RW delete"),
            row("zremrangebylex", 4, .first, [.write], "2.8.9", "Removes members between two texts.",
                "key min max", cost, remove).access("RW delete"),
        ]
    }

    // MARK: Bounds

    private struct ScoreBound {
        var score: Double
        var isExclusive: Bool

        init(_ word: ByteView) throws(CommandError) {
            isExclusive = word.count > 0 && word[0] == UInt8(ascii: "(")
            guard let score = Decimal.lenientDouble(isExclusive ? word[1..<word.count] : word) else {
                throw .message("ERR min or max is not a float")
            }
            self.score = score
        }

        /// A score that is before a range that starts here.
        func isAfter(_ other: Double) -> Bool { isExclusive ? other <= score : other < score }
        /// A score that is not behind a range that ends here.
        func includes(_ other: Double) -> Bool { isExclusive ? other < score : other <= score }
    }

    private enum TextBound {
        case lowest, highest
        case at(ByteView, isExclusive: Bool)

        init(_ word: ByteView) throws(CommandError) {
            if word == ByteView("-") {
                self = .lowest
            } else if word == ByteView("+") {
                self = .highest
            } else if word.count > 0, word[0] == UInt8(ascii: "(") || word[0] == UInt8(ascii: "[") {
                self = .at(word[1..<word.count], isExclusive: word[0] == UInt8(ascii: "("))
            } else {
                throw .message("ERR min or max not valid string range item")
            }
        }

        func isAfter(_ member: ByteView) -> Bool {
            switch self {
            case .lowest: false
            case .highest: true
            case .at(let text, let isExclusive): member < text || isExclusive && member == text
            }
        }

        func includes(_ member: ByteView) -> Bool {
            switch self {
            case .lowest: false
            case .highest: true
            case .at(let text, let isExclusive): member < text || !isExclusive && member == text
            }
        }
    }

    /// What is asked for, before the set is looked at.
    private enum Bounds {
        case ranks(Int64, Int64)
        case scores(ScoreBound, ScoreBound)
        case texts(TextBound, TextBound)

        init(_ kind: Kind, _ first: ByteView, _ last: ByteView) throws(CommandError) {
            switch kind {
            case .rank: self = .ranks(try Options.integer(first), try Options.integer(last))
            case .score: self = .scores(try ScoreBound(first), try ScoreBound(last))
            case .text: self = .texts(try TextBound(first), try TextBound(last))
            }
        }

        /// Ranks from the lowest score on, or from the highest when `isReversed` and by rank.
        func ranks(_ set: SortedSetValue, isReversed: Bool) throws(CommandError) -> Range<Int> {
            let count = try set.count()
            switch self {
            case .ranks(var start, var stop):
                let total = Int64(count)
                if start < 0 { start = max(0, start + total) }
                if stop < 0 { stop += total }
                if start > stop || start >= total { return 0..<0 }
                let range = Int(start)..<Int(min(stop, total - 1)) + 1
                return isReversed ? count - range.upperBound..<count - range.lowerBound : range
            case .scores(let low, let high):
                let from = try set.rank { score, _ in low.isAfter(score) }
                let to = try set.rank { score, _ in high.includes(score) }
                return from..<max(from, to)
            case .texts(let low, let high):
                let from = try set.rank { _, member in member.withBytes { low.isAfter($0) } }
                let to = try set.rank { _, member in member.withBytes { high.includes($0) } }
                return from..<max(from, to)
            }
        }
    }

    private enum Kind { case rank, score, text }

    // MARK: Reading

    private struct Request {
        var kind = Kind.rank
        var isReversed = false
        var withScores = false
        var offset: Int64 = 0
        var limit: Int64 = -1
        var bounds: Bounds

        /// `at`: word of the first bound.
        init(_ call: Call, at: Int) throws(CommandError) {
            let name = call.command.name, isFree = name == "zrange" || name == "zrangestore"
            var kind: Kind? = isFree ? nil
                : name.hasSuffix("byscore") ? .score : name.hasSuffix("bylex") ? .text : .rank
            isReversed = name.hasPrefix("zrev")
            var i = at + 2
            while i < call.wordCount {
                let word = call.arguments[i]
                if word.matches("withscores"), name != "zrangestore" {
                    withScores = true
                } else if word.matches("limit"), i + 2 < call.wordCount {
                    offset = try Options.integer(call.arguments[i + 1])
                    limit = try Options.integer(call.arguments[i + 2])
                    i += 2
                } else if word.matches("rev"), isFree, !isReversed {
                    isReversed = true
                } else if word.matches("bylex"), kind == nil {
                    kind = .text
                } else if word.matches("byscore"), kind == nil {
                    kind = .score
                } else {
                    throw .syntax
                }
                i += 1
            }
            self.kind = kind ?? .rank
            if limit != -1, self.kind == .rank {
                throw .message("ERR syntax error, LIMIT is only supported in combination with either BYSCORE "
                    + "or BYLEX")
            }
            if withScores, self.kind == .text {
                throw .message("ERR syntax error, WITHSCORES not supported in combination with BYLEX")
            }
            let swaps = isReversed && self.kind != .rank
            bounds = try Bounds(
                self.kind, call.arguments[swaps ? at + 1 : at], call.arguments[swaps ? at : at + 1])
        }

        /// The first member's rank and how many there are.
        func selection(_ set: SortedSetValue) throws(CommandError) -> (first: Int, count: Int) {
            let ranks = try bounds.ranks(set, isReversed: isReversed)
            guard offset >= 0, offset < Int64(ranks.count) else { return (0, 0) }
            var count = ranks.count - Int(offset)
            if limit >= 0 { count = Int(min(Int64(count), limit)) }
            let first = isReversed ? ranks.upperBound - 1 - Int(offset) : ranks.lowerBound + Int(offset)
            return (first, count)
        }
    }

    /// ZRANGE and its relatives; ZRANGESTORE.
    static func range(_ call: Call) throws(CommandError) {
        let isStoring = call.command.name == "zrangestore"
        let request = try Request(call, at: isStoring ? 3 : 2)
        let set = try call.keys.sortedSet(isStoring ? 1 : 0)
        let (first, count) = try request.selection(set)
        if isStoring { return try store(call, set, first, count, request.isReversed) }
        let pairs = PairWriter(call, count: count, withScores: request.withScores)
        try set.forEach(from: first, count: count, backward: request.isReversed) { member, score in
            pairs.write(member, score)
            return true
        }
    }

    private static func store(
        _ call: Call, _ set: SortedSetValue, _ first: Int, _ count: Int, _ isReversed: Bool
    ) throws(CommandError) {
        var members: [(member: [UInt8], score: Double)] = []
        try set.forEach(from: first, count: count, backward: isReversed) { member, score in
            members.append((member.array, score))
            return true
        }
        try SortedSetAlgebra.store(call, members, "zrangestore")
    }

    static func count(_ call: Call) throws(CommandError) {
        let kind = call.command.name == "zcount" ? Kind.score : .text
        let bounds = try Bounds(kind, call.arguments[2], call.arguments[3])
        call.reply.integer(try bounds.ranks(try call.keys.sortedSet(0), isReversed: false).count)
    }

    static func remove(_ call: Call) throws(CommandError) {
        let kind: Kind, event: StaticString
        switch call.command.name {
        case "zremrangebyrank": (kind, event) = (.rank, "zremrangebyrank")
        case "zremrangebyscore": (kind, event) = (.score, "zremrangebyscore")
        default: (kind, event) = (.text, "zremrangebylex")
        }
        let bounds = try Bounds(kind, call.arguments[2], call.arguments[3])
        let set = try call.keys.sortedSet(0)
        let ranks = try bounds.ranks(set, isReversed: false)
        try set.removeRange(from: ranks.lowerBound, count: ranks.count)
        if ranks.count > 0 { call.notifyRemoval(.sortedSet, event) }
        call.reply.integer(ranks.count)
    }
}
