import Primitives
import RESPWire
import TieredStore

/// Commands on sets.
enum SetCommands {
    static func rows() -> [Command] { members() + algebra() }

    private static func row(
        _ name: String, _ arity: Int, keys: Command.Keys = .first, _ flags: CommandFlags, _ since: String,
        _ summary: String, _ syntax: String, complexity: String = "O(1)",
        _ handler: @escaping Command.Handler
    ) -> Command {
        Command(name, arity, keys: keys, needs: .value, flags, group: "set", since: since,
            complexity: complexity, summary, syntax: syntax, handler)
    }

    private static func members() -> [Command] {
        let each = "O(N) in the members given"
        return [
            row("sadd", -3, [.write, .growsMemory, .fast], "1.0.0", "Adds members to a set.",
                "key member [member ...]", complexity: each, add)
                .access("RW insert"),
            row("srem", -3, [.write, .fast], "1.0.0", "Removes members from a set.",
                "key member [member ...]", complexity: each, remove)
                .access("RW delete"),
            row("smove", 4, keys: .range(first: 1, last: 2, step: 1), [.write, .fast], "1.0.0",
                "Moves a member to another set.", "source destination member", move)
                .specs(.at(1, "RW access delete"), .at(2, "RW insert")),
            row("sismember", 3, [.readonly, .fast], "1.0.0", "Tells whether a member is in a set.",
                "key member", isMember)
                .access("RO"),
            row("smismember", -3, [.readonly, .fast], "6.2.0", "Tells which members are in a set.",
                "key member [member ...]", complexity: each, areMembers),
            row("scard", 2, [.readonly, .fast], "1.0.0", "Counts the members.", "key", count)
                .access("RO"),
            row("smembers", 2, [.readonly], "1.0.0", "Returns all members.", "key",
                complexity: "O(N) in the members of the set", all)
                .tips("nondeterministic_output_order"),
            row("spop", -2, [.write, .fast], "1.0.0", "Removes members at random and returns them.",
                "key [count]", complexity: "O(N) in the count", pop)
                .access("RW access delete")
                .tips("nondeterministic_output"),
            row("srandmember", -2, [.readonly], "1.0.0", "Returns members at random.", "key [count]",
                complexity: "O(N) in the count", random)
                .tips("nondeterministic_output"),
            row("sscan", -3, [.readonly], "2.8.0", "Walks over the members in steps.",
                "key cursor [MATCH pattern] [COUNT count]",
                complexity: "O(1) a step, O(N) for the whole walk", scan)
                .tips("nondeterministic_output"),
        ]
    }

    private static func algebra() -> [Command] {
        let all = Command.Keys.range(first: 1, last: -1, step: 1)
        let store: CommandFlags = [.write, .growsMemory]
        let sum = "O(N) in the members of all sets", product = "O(N*M): smallest set, number of sets"
        return [
            row("sinter", -2, keys: all, [.readonly], "1.0.0", "Returns the intersection of sets.",
                "key [key ...]", complexity: product, intersection)
                .tips("nondeterministic_output_order"),
            row("sunion", -2, keys: all, [.readonly], "1.0.0", "Returns the union of sets.",
                "key [key ...]", complexity: sum, union)
                .tips("nondeterministic_output_order"),
            row("sdiff", -2, keys: all, [.readonly], "1.0.0", "Returns the difference of sets.",
                "key [key ...]", complexity: sum, difference)
                .tips("nondeterministic_output_order"),
            row("sinterstore", -3, keys: all, store, "1.0.0", "Stores the intersection of sets.",
                "destination key [key ...]", complexity: product, intersection)
                .specs(.at(1, "RW update"), .from(2, "RO access")),
            row("sunionstore", -3, keys: all, store, "1.0.0", "Stores the union of sets.",
                "destination key [key ...]", complexity: sum, union)
                .specs(.at(1, "OW update"), .from(2, "RO access")),
            row("sdiffstore", -3, keys: all, store, "1.0.0", "Stores the difference of sets.",
                "destination key [key ...]", complexity: sum, difference)
                .specs(.at(1, "OW update"), .from(2, "RO access")),
            row("sintercard", -3, keys: .counted(at: 1), [.readonly, .movableKeys], "7.0.0",
                "Counts the members of the intersection of sets.",
                "numkeys key [key ...] [LIMIT limit]", complexity: product, intersectionCount),
        ]
    }

    // MARK: Members

    static func add(_ call: Call) throws(CommandError) {
        let set = try call.keys.set(0)
        var added = 0
        for i in 2..<call.wordCount where try set.add(call.arguments[i]) { added += 1 }
        if added > 0 { call.notify(.set, "sadd") }
        call.reply.integer(added)
    }

    static func remove(_ call: Call) throws(CommandError) {
        let set = try call.keys.set(0)
        var removed = 0
        for i in 2..<call.wordCount where try set.remove(call.arguments[i]) {
            removed += 1
            if !set.exists { break }
        }
        if removed > 0 { call.notifyRemoval(.set, "srem") }
        call.reply.integer(removed)
    }

    static func move(_ call: Call) throws(CommandError) {
        guard call.keys.exists(0) else { return call.reply.integer(0) }
        let source = try call.keys.set(0), target = try call.keys.set(1)
        let member = call.arguments[3]
        if call.keys.key(0) == call.keys.key(1) {
            return call.reply.integer(try source.contains(member) ? 1 : 0)
        }
        guard try source.remove(member) else { return call.reply.integer(0) }
        call.notifyRemoval(.set, "srem", 0)
        if try target.add(member) { call.notify(.set, "sadd", 1) }
        call.reply.integer(1)
    }

    static func isMember(_ call: Call) throws(CommandError) {
        call.reply.integer(try call.keys.set(0).contains(call.arguments[2]) ? 1 : 0)
    }

    static func areMembers(_ call: Call) throws(CommandError) {
        let set = try call.keys.set(0)
        call.reply.array(call.wordCount - 2)
        for i in 2..<call.wordCount { call.reply.integer(try set.contains(call.arguments[i]) ? 1 : 0) }
    }

    static func count(_ call: Call) throws(CommandError) { call.reply.integer(try call.keys.set(0).count()) }

    static func all(_ call: Call) throws(CommandError) {
        let set = try call.keys.set(0), reply = call.reply
        reply.set(try set.count())
        try set.forEach {
            reply.bulk($0)
            return true
        }
    }

    static func scan(_ call: Call) throws(CommandError) {
        guard let options = try call.scanOptions(.set) else { return }
        let reply = call.reply
        let set = try call.keys.set(0)
        var found: [[UInt8]] = []
        let next = try set.scan(options.cursor, atLeast: options.count) {
            if options.matches($0) { found.append($0.array) }
        }
        reply.array(2)
        call.bulk(String(next))
        reply.array(found.count)
        for member in found { member.withView { reply.bulk($0) } }
    }

    // MARK: Random

    static func pop(_ call: Call) throws(CommandError) {
        if call.wordCount > 3 { throw .syntax }
        guard call.wordCount == 3 else {
            let set = try call.keys.set(0)
            guard try set.count() > 0 else { return call.reply.null() }
            let member = try set.random().array
            try removeAll([member], from: set)
            call.notifyRemoval(.set, "spop")
            return member.withView { call.reply.bulk($0) }
        }
        guard let wanted = Decimal.int64(call.arguments[2]), wanted >= 0 else {
            throw .message("ERR value is out of range, must be positive")
        }
        let set = try call.keys.set(0), reply = call.reply
        let total = try set.count(), length = Int(min(wanted, Int64(total)))
        guard length > 0 else { return reply.set(0) }
        var chosen = RandomRequest.Choice(of: total, choosing: length, &call.worker.random)
        var members: [[UInt8]] = []
        try set.forEach {
            if chosen.takesNext() { members.append($0.array) }
            return members.count < length
        }
        reply.set(length)
        for member in members { member.withView { reply.bulk($0) } }
        if length == total { call.keys.delete(0) } else { try removeAll(members, from: set) }
        call.notifyRemoval(.set, "spop")
    }

    private static func removeAll(_ members: [[UInt8]], from set: SetValue) throws(CommandError) {
        for member in members {
            try member.withBytes { view throws(CommandError) in _ = try set.remove(view) }
        }
    }

    /// SRANDMEMBER key [count]: a negative count allows repeats.
    static func random(_ call: Call) throws(CommandError) {
        if call.wordCount > 3 { throw .syntax }
        let set: SetValue, reply = call.reply
        guard call.wordCount == 3 else {
            set = try call.keys.set(0)
            guard try set.count() > 0 else { return reply.null() }
            return reply.bulk(try set.random())
        }
        let request = try RandomRequest(call, option: "")
        set = try call.keys.set(0)
        let total = try set.count()
        if total == 0 || request.count == 0 { return reply.array(0) }
        if request.isRepeating {
            let mark = reply.mark
            reply.array(request.count)
            for _ in 0..<request.count {
                try request.checkLength(call, since: mark)
                reply.bulk(try set.random())
            }
            return
        }
        let length = min(request.count, total)
        reply.array(length)
        var chosen = RandomRequest.Choice(of: total, choosing: length, &call.worker.random)
        try set.forEach {
            if chosen.takesNext() { reply.bulk($0) }
            return true
        }
    }

    // MARK: Algebra

    /// Opens the sets at the keys from `first` on; all types are checked.
    private static func open(_ call: Call, from first: Int) throws(CommandError) -> [SetValue] {
        var sets: [SetValue] = []
        for i in first..<call.keys.count { sets.append(try call.keys.set(i)) }
        return sets
    }

    /// Whether the command stores its result at its first key.
    private static func isStoring(_ call: Call) -> Bool { call.command.name.hasSuffix("store") }

    static func intersection(_ call: Call) throws(CommandError) {
        let sets = try open(call, from: isStoring(call) ? 1 : 0)
        var result: [Element] = []
        try intersect(sets) { result.append($0); return true }
        try answer(call, result)
    }

    private static func intersect(
        _ sets: [SetValue], _ visit: (Element) -> Bool
    ) throws(CommandError) {
        var sized: [(set: SetValue, count: Int)] = []
        for set in sets { sized.append((set, try set.count())) }
        sized.sort { $0.count < $1.count }
        if sized[0].count == 0 { return }
        var failure: CommandError?
        try sized[0].set.forEach { element in
            element.withBytes { view in
                do throws(CommandError) {
                    for other in sized[1...] where try !other.set.contains(view) { return true }
                } catch {
                    failure = error
                    return false
                }
                return visit(element)
            }
        }
        if let failure { throw failure }
    }

    static func union(_ call: Call) throws(CommandError) {
        var result = ElementSet(call.worker)
        for set in try open(call, from: isStoring(call) ? 1 : 0) {
            try set.forEach {
                result.insert($0)
                return true
            }
        }
        try answer(call, result.elements)
    }

    static func difference(_ call: Call) throws(CommandError) {
        let sets = try open(call, from: isStoring(call) ? 1 : 0)
        var result: [Element] = []
        var failure: CommandError?
        try sets[0].forEach { element in
            element.withBytes { view in
                do throws(CommandError) {
                    for other in sets[1...] where try other.contains(view) { return }
                    result.append(element)
                } catch { failure = error }
            }
            return failure == nil
        }
        if let failure { throw failure }
        try answer(call, result)
    }

    /// The result as a set, or stored at the first key: its count.
    private static func answer(_ call: Call, _ result: [Element]) throws(CommandError) {
        guard isStoring(call) else {
            call.reply.set(result.count)
            for element in result { call.reply.bulk(element) }
            return
        }
        // The destination may be one of the sources: the members are copied before it is replaced.
        let members = result.map(\.array)
        let existed = call.keys.delete(0)
        let target = try call.keys.set(0)
        for member in members {
            try member.withBytes { view throws(CommandError) in _ = try target.add(view) }
        }
        if !members.isEmpty {
            let events: [String: StaticString] = [
                "sinterstore": "sinterstore", "sunionstore": "sunionstore", "sdiffstore": "sdiffstore"]
            call.notify(.set, events[call.command.name]!)
        } else if existed {
            call.notify(.generic, "del")
        }
        call.reply.integer(members.count)
    }

    /// SINTERCARD numkeys key … [LIMIT limit].
    static func intersectionCount(_ call: Call) throws(CommandError) {
        guard let count = Decimal.int64(call.arguments[1]), count > 0 else {
            throw .message("ERR numkeys should be greater than 0")
        }
        guard count <= Int64(call.wordCount - 2) else {
            throw .message("ERR Number of keys can't be greater than number of args")
        }
        var limit = Int64(0), i = 2 + Int(count)
        while i < call.wordCount {
            guard call.arguments[i].matches("limit"), i + 1 < call.wordCount else { throw .syntax }
            guard let given = Decimal.int64(call.arguments[i + 1]), given >= 0 else {
                throw .message("ERR LIMIT can't be negative")
            }
            limit = given
            i += 2
        }
        var found: Int64 = 0
        try intersect(try open(call, from: 0)) { _ in
            found += 1
            return limit == 0 || found < limit
        }
        call.reply.integer(found)
    }
}

/// Elements without repetition, in the order of their coming. Holds views: the collections they come from
/// must not be changed meanwhile.
struct ElementSet {
    private(set) var elements: [Element] = []
    private var slots = [Int32](repeating: -1, count: 64)
    private let worker: StoreWorker

    init(_ worker: StoreWorker) { self.worker = worker }

    /// Where `bytes` is in `elements`, or -1.
    func find(_ bytes: ByteView) -> Int { Int(slots[slot(bytes)]) }

    private func slot(_ bytes: ByteView) -> Int {
        let mask = slots.count - 1
        var at = Int(truncatingIfNeeded: worker.hash(bytes)) & mask
        while slots[at] >= 0, !elements[Int(slots[at])].equals(bytes) { at = (at + 1) & mask }
        return at
    }

    /// Adds an element if it is not there; where it is.
    @discardableResult
    mutating func insert(_ element: Element) -> Int {
        if elements.count * 2 >= slots.count { grow() }
        let at = element.withBytes { slot($0) }
        if slots[at] >= 0 { return Int(slots[at]) }
        slots[at] = Int32(elements.count)
        elements.append(element)
        return elements.count - 1
    }

    private mutating func grow() {
        slots = [Int32](repeating: -1, count: slots.count * 2)
        for (i, element) in elements.enumerated() {
            let at = element.withBytes { bytes in
                let mask = slots.count - 1
                var at = Int(truncatingIfNeeded: worker.hash(bytes)) & mask
                while slots[at] >= 0 { at = (at + 1) & mask }
                return at
            }
            slots[at] = Int32(i)
        }
    }
}

extension Array where Element == UInt8 {
    /// Lends the bytes to a body that may throw a command's error.
    func withBytes<R>(_ body: (ByteView) throws(CommandError) -> R) throws(CommandError) -> R {
        let result = withView { view in Result { () throws(CommandError) in try body(view) } }
        return try result.get()
    }
}
