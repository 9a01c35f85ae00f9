import Primitives
import RESPWire
import TieredStore

/// Unions, intersections and differences of sorted sets and sets.
enum SortedSetAlgebra {
    static func rows() -> [Command] {
        let row = SortedSetCommands.row
        let read: CommandFlags = [.readonly, .movableKeys]
        let store: CommandFlags = [.write, .growsMemory, .movableKeys]
        let sources = "numkeys key [key ...]"
        let options = " [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]"
        let union = "O(N)+O(M*log(M)): members of all sets, members of the result"
        let product = "O(N*K)+O(M*log(M)): smallest set, number of sets, members of the result"
        let counted = Command.Keys.counted(at: 1), stored = Command.Keys.custom(storeKeys)
        return [
            row("zunion", -3, counted, read, "6.2.0", "Returns the union of sorted sets.",
                sources + options + " [WITHSCORES]", union, unite),
            row("zinter", -3, counted, read, "6.2.0", "Returns the intersection of sorted sets.",
                sources + options + " [WITHSCORES]", product, intersection),
            row("zdiff", -3, counted, read, "6.2.0", "Returns the difference of sorted sets.",
                sources + " [WITHSCORES]", union, difference),
            row("zunionstore", -4, stored, store, "2.0.0", "Stores the union of sorted sets.",
                "destination " + sources + options, union, unite)
                .specs(.at(1, "OW update"), .counted(at: 2, "RO access")),
            row("zinterstore", -4, stored, store, "2.0.0", "Stores the intersection of sorted sets.",
                "destination " + sources + options, product, intersection)
                .specs(.at(1, "OW update"), .counted(at: 2, "RO access")),
            row("zdiffstore", -4, stored, store, "6.2.0", "Stores the difference of sorted sets.",
                "destination " + sources, union, difference)
                .specs(.at(1, "OW update"), .counted(at: 2, "RO access")),
            row("zintercard", -3, counted, read, "7.0.0",
                "Counts the members of the intersection of sorted sets.",
                sources + " [LIMIT limit]", product, intersectionCount),
        ]
    }

    /// The destination, then as many keys as word 2 says.
    private static func storeKeys(_ arguments: Arguments, _ positions: inout [Command.KeyPosition]) {
        guard arguments.count > 3, let count = Decimal.int64(arguments[2]), count > 0,
            count <= Int64(arguments.count - 3)
        else { return }
        positions.append(Command.KeyPosition(1))
        for word in 3..<3 + Int(count) { positions.append(Command.KeyPosition(word)) }
    }

    // MARK: Sources

    /// A sorted set, or a set whose members all have the score 1.
    private enum Source {
        case sorted(SortedSetValue)
        case plain(SetValue)

        func count() throws(CommandError) -> Int {
            switch self {
            case .sorted(let set): try set.count()
            case .plain(let set): try set.count()
            }
        }

        func score(_ member: ByteView) throws(CommandError) -> Double? {
            switch self {
            case .sorted(let set): try set.score(member)
            case .plain(let set): try set.contains(member) ? 1 : nil
            }
        }

        func forEach(_ visit: (Element, Double) -> Bool) throws(CommandError) {
            switch self {
            case .sorted(let set): try set.forEach(from: 0, count: try set.count(), visit)
            case .plain(let set): try set.forEach { visit($0, 1) }
            }
        }
    }

    private enum Aggregate { case sum, min, max }

    private struct Request {
        var sources: [(set: Source, weight: Double)] = []
        var aggregate = Aggregate.sum
        var withScores = false
        var limit: Int64 = 0
        var isStoring: Bool

        init(_ call: Call) throws(CommandError) {
            let name = call.command.name
            isStoring = name.hasSuffix("store")
            let at = isStoring ? 2 : 1
            let count = try Options.integer(call.arguments[at])
            if count < 1 { throw .message("ERR at least 1 input key is needed for '\(name)' command") }
            if count > Int64(call.wordCount - at - 1) { throw .syntax }
            for i in 0..<Int(count) {
                let key = isStoring ? i + 1 : i
                if call.keys.type(key) == .set {
                    sources.append((.plain(try call.keys.set(key)), 1))
                } else {
                    sources.append((.sorted(try call.keys.sortedSet(key)), 1))
                }
            }
            try readOptions(call, from: at + 1 + Int(count), name)
        }

        private mutating func readOptions(
            _ call: Call, from first: Int, _ name: String
        ) throws(CommandError) {
            let isWeighted = !name.hasPrefix("zdiff") && name != "zintercard"
            var i = first
            while i < call.wordCount {
                let word = call.arguments[i], left = call.wordCount - i - 1
                if isWeighted, word.matches("weights"), left >= sources.count {
                    for n in sources.indices {
                        guard let weight = Decimal.double(call.arguments[i + 1 + n]), !weight.isNaN else {
                            throw .message("ERR weight value is not a float")
                        }
                        sources[n].weight = weight
                    }
                    i += sources.count
                } else if isWeighted, word.matches("aggregate"), left >= 1 {
                    let rule = call.arguments[i + 1]
                    if rule.matches("sum") { aggregate = .sum }
                    else if rule.matches("min") { aggregate = .min }
                    else if rule.matches("max") { aggregate = .max }
                    else { throw .syntax }
                    i += 1
                } else if !isStoring, name != "zintercard", word.matches("withscores") {
                    withScores = true
                } else if name == "zintercard", word.matches("limit"), left >= 1 {
                    guard let given = Decimal.int64(call.arguments[i + 1]), given >= 0 else {
                        throw .message("ERR LIMIT can't be negative")
                    }
                    limit = given
                    i += 1
                } else {
                    throw .syntax
                }
                i += 1
            }
        }

        /// Smallest first, as Redis adds them up.
        mutating func sortBySize() throws(CommandError) {
            var sized: [(source: (set: Source, weight: Double), count: Int)] = []
            for source in sources { sized.append((source, try source.set.count())) }
            sized.sort { $0.count < $1.count }
            sources = sized.map(\.source)
        }

        func join(_ a: Double, _ b: Double) -> Double {
            switch aggregate {
            case .sum:
                let sum = a + b
                return sum.isNaN ? 0 : sum
            case .min: return Swift.min(a, b)
            case .max: return Swift.max(a, b)
            }
        }

        /// A member's score as it counts.
        static func weighted(_ score: Double, _ weight: Double) -> Double {
            let product = score * weight
            return product.isNaN ? 0 : product
        }
    }

    // MARK: Handlers

    static func unite(_ call: Call) throws(CommandError) {
        var request = try Request(call)
        try request.sortBySize()
        var members = ElementSet(call.worker), scores: [Double] = []
        for (set, weight) in request.sources {
            try set.forEach { member, score in
                let score = Request.weighted(score, weight)
                let n = members.insert(member)
                if n == scores.count {
                    scores.append(score)
                } else {
                    scores[n] = request.join(scores[n], score)
                }
                return true
            }
        }
        try answer(call, request, Array(zip(members.elements, scores)))
    }

    /// Visits the members all sources have, with their joint score.
    private static func intersect(
        _ request: Request, _ visit: (Element, Double) -> Bool
    ) throws(CommandError) {
        var failure: CommandError?
        let (first, weight) = request.sources[0]
        try first.forEach { member, score in
            var joint = Request.weighted(score, weight)
            let isInAll = member.withBytes { bytes in
                do throws(CommandError) {
                    for (set, weight) in request.sources[1...] {
                        guard let other = try set.score(bytes) else { return false }
                        joint = request.join(joint, Request.weighted(other, weight))
                    }
                    return true
                } catch {
                    failure = error
                    return false
                }
            }
            return failure == nil && (!isInAll || visit(member, joint))
        }
        if let failure { throw failure }
    }

    static func intersection(_ call: Call) throws(CommandError) {
        var request = try Request(call)
        try request.sortBySize()
        var result: [(Element, Double)] = []
        try intersect(request) { member, score in
            result.append((member, score))
            return true
        }
        try answer(call, request, result)
    }

    static func intersectionCount(_ call: Call) throws(CommandError) {
        var request = try Request(call)
        try request.sortBySize()
        var count: Int64 = 0
        try intersect(request) { _, _ in
            count += 1
            return request.limit == 0 || count < request.limit
        }
        call.reply.integer(count)
    }

    static func difference(_ call: Call) throws(CommandError) {
        let request = try Request(call)
        var result: [(Element, Double)] = [], failure: CommandError?
        try request.sources[0].set.forEach { member, score in
            member.withBytes { bytes in
                do throws(CommandError) {
                    for (set, _) in request.sources[1...] where try set.score(bytes) != nil { return }
                    result.append((member, score))
                } catch { failure = error }
            }
            return failure == nil
        }
        if let failure { throw failure }
        try answer(call, request, result)
    }

    // MARK: Results

    private static func answer(
        _ call: Call, _ request: Request, _ result: [(Element, Double)]
    ) throws(CommandError) {
        let sorted = result.sorted { a, b in
            if a.1 != b.1 { return a.1 < b.1 }
            return a.0.withBytes { first in b.0.withBytes { first < $0 } }
        }
        if request.isStoring {
            let events: [String: StaticString] = [
                "zunionstore": "zunionstore", "zinterstore": "zinterstore", "zdiffstore": "zdiffstore"]
            return try store(call, sorted.map { ($0.0.array, $0.1) }, events[call.command.name]!)
        }
        let pairs = PairWriter(call, count: sorted.count, withScores: request.withScores)
        for (member, score) in sorted { pairs.write(member, score) }
    }

    /// Makes the members the value of key `i`; replies with their number.
    static func store(
        _ call: Call, _ members: [(member: [UInt8], score: Double)], _ event: StaticString, at i: Int = 0
    ) throws(CommandError) {
        let existed = call.keys.delete(i)
        let target = try call.keys.sortedSet(i)
        for (member, score) in members {
            try member.withBytes { view throws(CommandError) in _ = try target.set(view, score) }
        }
        if !members.isEmpty {
            call.notify(.sortedSet, event, i)
        } else if existed {
            call.notify(.generic, "del", i)
        }
        call.reply.integer(members.count)
    }
}
