import Primitives
import RESPWire
import TieredStore

/// SORT and SORT_RO. With patterns that name other keys they run while the world stands still; texts are
/// compared byte by byte, as in the C locale.
enum SortCommands {
    static func rows() -> [Command] {
        let options = "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC]"
            + " [ALPHA]"
        let cost = "O(N+M*log(M)): elements, elements returned"
        return [
            GenericCommands.row("sort", -2, keys: .custom(keys), needs: .value,
                [.write, .growsMemory, .movableKeys], "1.0.0",
                "Returns the elements of a list, set or sorted set in order, or stores them.",
                options + " [STORE destination]", complexity: cost, sort)
                .specs(.at(1, "RO access"), .unknown("RO access"), .unknown("OW update")),
            GenericCommands.row("sort_ro", -2, needs: .value, [.readonly, .movableKeys], "7.0.0",
                "Returns the elements of a list, set or sorted set in order.", options, complexity: cost,
                sort)
                .specs(.at(1, "RO access"), .unknown("RO access")),
        ]
    }

    // MARK: Words

    /// What the options say of keys, without a look at their grammar: the place of STORE's key, and whether
    /// a pattern makes names of keys.
    private static func lookForKeys(_ words: Arguments) -> (target: Int?, namesOthers: Bool) {
        var target: Int?, namesOthers = false, i = 2
        while i < words.count {
            let word = words[i], left = words.count - i - 1
            if word.matches("limit") {
                i += 2
            } else if word.matches("store"), left >= 1 {
                target = i + 1
                i += 1
            } else if word.matches("by") || word.matches("get"), left >= 1 {
                if Pattern(words[i + 1]).namesKey { namesOthers = true }
                i += 1
            }
            i += 1
        }
        return (target, namesOthers)
    }

    private static func keys(_ words: Arguments, _ positions: inout [Command.KeyPosition]) {
        positions.append(Command.KeyPosition(1))
        if let target = lookForKeys(words).target { positions.append(Command.KeyPosition(target)) }
    }

    static func namesOthers(_ words: Arguments) -> Bool { lookForKeys(words).namesOthers }

    /// "weight_*", "object_*->field", "#".
    private struct Pattern {
        let text: ByteView
        /// Where the element comes in, and where the name of a hash's key ends.
        private var star = -1, end: Int
        private(set) var field: ByteView?

        init(_ text: ByteView) {
            self.text = text
            end = text.count
            // Redis looks as far as the first NUL.
            let shown = (0..<text.count).first { text[$0] == 0 } ?? text.count
            guard let star = (0..<shown).first(where: { text[$0] == UInt8(ascii: "*") }) else { return }
            self.star = star
            for i in star + 1..<max(star + 1, shown - 1)
            where text[i] == UInt8(ascii: "-") && text[i + 1] == UInt8(ascii: ">") {
                if i + 2 < shown {
                    end = i
                    field = text[i + 2..<text.count]
                }
                break
            }
        }

        var isElement: Bool { text == ByteView("#") }
        var namesKey: Bool { star >= 0 }

        func key(for element: Element) -> [UInt8] {
            text[0..<star].array + element.array + text[star + 1..<end].array
        }
    }

    private struct Request {
        var by: Pattern?
        var isSorted = true
        var gets: [Pattern] = []
        var isDescending = false, isAlpha = false, isStoring = false
        var offset = Int64(0), limit = Int64(-1)

        init(_ call: Call) throws(CommandError) {
            let mayStore = call.command.name == "sort"
            var i = 2
            while i < call.wordCount {
                let word = call.arguments[i], left = call.wordCount - i - 1
                if word.matches("asc") { isDescending = false }
                else if word.matches("desc") { isDescending = true }
                else if word.matches("alpha") { isAlpha = true }
                else if word.matches("limit"), left >= 2 {
                    offset = try Options.integer(call.arguments[i + 1])
                    limit = try Options.integer(call.arguments[i + 2])
                    i += 2
                } else if mayStore, word.matches("store"), left >= 1 {
                    isStoring = true
                    i += 1
                } else if word.matches("by"), left >= 1 {
                    let pattern = Pattern(call.arguments[i + 1])
                    by = pattern
                    // Redis 7.0: once a constant was given, nothing is sorted.
                    if !pattern.namesKey { isSorted = false }
                    i += 1
                } else if word.matches("get"), left >= 1 {
                    gets.append(Pattern(call.arguments[i + 1]))
                    i += 1
                } else {
                    throw .syntax
                }
                i += 1
            }
        }

        /// The elements asked for, of so many.
        func selection(of count: Int) -> Range<Int> {
            let count = Int64(count), start = min(max(offset, 0), count)
            let length = min(max(limit, -1), count)
            let end = length < 0 ? count : min(start + length, count)
            return Int(start)..<Int(max(start, end))
        }
    }

    // MARK: Handler

    static func sort(_ call: Call) throws(CommandError) {
        var request = try Request(call)
        guard namesOthers(call.arguments) else {
            let (elements, selection) = try elements(call, &request)
            return try answer(call, request, elements, selection)
        }
        try call.front.finishAlone { () throws(CommandError) in
            let (lent, selection) = try elements(call, &request)
            // What is lent goes away when other values are read.
            var bytes: [UInt8] = [], ends: [Int] = []
            for element in lent {
                if case .bytes = element { bytes += element.array }
                ends.append(bytes.count)
            }
            var failure: CommandError?
            bytes.withView { bytes in
                var owned = lent
                for i in lent.indices {
                    guard case .bytes = lent[i] else { continue }
                    owned[i] = .bytes(bytes[(i == 0 ? 0 : ends[i - 1])..<ends[i]])
                }
                do throws(CommandError) { try answer(call, request, owned, selection) } catch {
                    failure = error
                }
            }
            if let failure { throw failure }
        }
    }

    /// The elements to sort, or those to return if nothing is sorted, and which of them are asked for.
    private static func elements(
        _ call: Call, _ request: inout Request
    ) throws(CommandError) -> (elements: [Element], selection: Range<Int>) {
        var found: [Element] = []
        let type = call.keys.type(0)
        if type == .set, !request.isSorted, request.isStoring || call.front.scripts.isRunning {
            // A set has no order of its own: what is kept, or a script goes on with, has one.
            (request.isSorted, request.isAlpha, request.by) = (true, true, nil)
        }
        switch type {
        case .set:
            let set = try call.keys.set(0)
            try set.forEach {
                found.append($0)
                return true
            }
            return (found, request.selection(of: found.count))
        case nil, .list:
            let list = try call.keys.list(0), count = try list.count()
            var range = 0..<count
            if !request.isSorted { range = part(request, count) }
            try list.forEach(from: range.lowerBound, count: range.count) { found.append($0) }
            if !request.isSorted, request.isDescending { found.reverse() }
        case .sortedSet:
            let set = try call.keys.sortedSet(0), count = try set.count()
            var range = 0..<count
            if !request.isSorted { range = part(request, count) }
            try set.forEach(from: range.lowerBound, count: range.count) { member, _ in
                found.append(member)
                return true
            }
            if !request.isSorted, request.isDescending { found.reverse() }
        default: throw .wrongType
        }
        return (found, request.isSorted ? request.selection(of: found.count) : found.indices)
    }

    /// The part of a collection with an order of its own that is asked for; descending: from the end.
    private static func part(_ request: Request, _ count: Int) -> Range<Int> {
        let range = request.selection(of: count)
        return request.isDescending ? count - range.upperBound..<count - range.lowerBound : range
    }

    private static func answer(
        _ call: Call, _ request: Request, _ elements: [Element], _ selection: Range<Int>
    ) throws(CommandError) {
        let chosen = request.isSorted
            ? try sorted(call, request, elements, selection) : Array(elements[selection])
        if request.isStoring { return try store(call, request, chosen) }
        let reply = call.reply
        reply.array(chosen.count * max(1, request.gets.count))
        if request.gets.isEmpty {
            for element in chosen { reply.bulk(element) }
        } else {
            try look(call, request.gets, chosen) { _, value in reply.bulkOrNull(value) }
        }
    }

    private static func store(
        _ call: Call, _ request: Request, _ chosen: [Element]
    ) throws(CommandError) {
        var values: [[UInt8]] = []
        if request.gets.isEmpty {
            values = chosen.map(\.array)
        } else {
            try look(call, request.gets, chosen) { _, value in values.append(value?.array ?? []) }
        }
        let bytes = values.reduce(0) { $0 + $1.count + 8 }
        if call.isInside || !namesOthers(call.arguments) {
            try call.requireRoom(bytes)
        } else if call.configuration.maxmemory > 0, bytes > call.configuration.maxmemory / 2 {
            // Waiting here would read all of it again, which fills RAM again: it overdraws rather.
            throw .outOfMemory
        }
        let existed = call.keys.delete(1)
        let list = try call.keys.list(1)
        for value in values {
            try value.withBytes { bytes throws(CommandError) in try list.push(bytes, .tail) }
        }
        if !values.isEmpty {
            call.notify(.list, "sortstore", 1)
        } else if existed {
            call.notify(.generic, "del", 1)
        }
        call.reply.integer(values.count)
    }

    // MARK: Order

    private struct Item {
        var element: Element
        var score = 0.0
        var text: [UInt8]?
    }

    private static func sorted(
        _ call: Call, _ request: Request, _ elements: [Element], _ selection: Range<Int>
    ) throws(CommandError) -> [Element] {
        var items = elements.map { Item(element: $0) }, isNumeric = true
        if let by = request.by {
            try look(call, [by], elements) { place, value in
                guard let value else { return }
                if request.isAlpha {
                    items[place].text = value.array
                } else if let score = number(value) {
                    items[place].score = score
                } else {
                    isNumeric = false
                }
            }
        } else if !request.isAlpha {
            for i in items.indices {
                guard let score = number(elements[i]) else {
                    isNumeric = false
                    break
                }
                items[i].score = score
            }
        }
        if !isNumeric { throw .message("ERR One or more scores can't be converted into double") }
        let sign = request.isDescending ? -1 : 1, byText = request.isAlpha && request.by != nil
        let byScore = !request.isAlpha
        func compare(_ a: Item, _ b: Item) -> Int {
            if byText { return sign * order(a.text, b.text, whole: request.isStoring) }
            if byScore, a.score != b.score { return a.score < b.score ? -sign : sign }
            return sign * order(a.element, b.element, whole: byScore || request.isStoring)
        }
        if request.by != nil, selection.count < items.count {
            if selection.isEmpty { return [] }
            let wanted = selection.lowerBound...selection.upperBound - 1
            items = PartialSort.sort(items, wanted: wanted, by: compare)
        } else {
            items.sort { compare($0, $1) < 0 }
        }
        return items[selection].map(\.element)
    }

    private static func order(_ a: Element, _ b: Element, whole: Bool) -> Int {
        a.withBytes { first in b.withBytes { order(first, $0, whole: whole) } }
    }

    /// Redis compares texts with strcoll, up to the first NUL, unless it is the whole that counts.
    private static func order(_ a: ByteView, _ b: ByteView, whole: Bool) -> Int {
        if whole { return a == b ? 0 : a < b ? -1 : 1 }
        var i = 0
        while true {
            let x = i < a.count ? a[i] : 0, y = i < b.count ? b[i] : 0
            if x != y { return x < y ? -1 : 1 }
            if x == 0 { return 0 }
            i += 1
        }
    }

    /// An element without a text comes first.
    private static func order(_ a: [UInt8]?, _ b: [UInt8]?, whole: Bool) -> Int {
        guard let a, let b else { return a == nil ? b == nil ? 0 : -1 : 1 }
        return a.withView { first in b.withView { order(first, $0, whole: whole) } }
    }

    /// A weight, as C's strtod reads it: up to the first NUL, without leading space; nothing at all is 0.
    private static func number(_ element: Element) -> Double? {
        if case .integer(let value) = element { return Double(value) }
        return element.withBytes { bytes in
            let shown = bytes[0..<((0..<bytes.count).first { bytes[$0] == 0 } ?? bytes.count)]
            if shown.count == 0 { return 0 }
            let first = (0..<shown.count).first { shown[$0] != 32 && shown[$0] &- 9 > 4 } ?? 0
            guard let value = Decimal.double(shown[first..<shown.count]), !value.isNaN, !value.isSubnormal
            else { return nil }
            return value
        }
    }

    // MARK: Patterns

    /// What the patterns find for each element, element by element; `visit` gets the element's place.
    private static func look(
        _ call: Call, _ patterns: [Pattern], _ elements: [Element], _ visit: (Int, Element?) -> Void
    ) throws(CommandError) {
        let share = max(1, Front.aside / patterns.count)
        for first in stride(from: 0, to: elements.count, by: share) {
            let places = first..<min(elements.count, first + share)
            try look(call, patterns, elements, places, visit)
        }
    }

    private static func look(
        _ call: Call, _ patterns: [Pattern], _ elements: [Element], _ places: Range<Int>,
        _ visit: (Int, Element?) -> Void
    ) throws(CommandError) {
        var names: [[UInt8]] = []
        for place in places {
            for pattern in patterns where pattern.namesKey { names.append(pattern.key(for: elements[place])) }
        }
        var place = places.lowerBound, n = 0
        // Patterns that need no key, up to the next that does.
        func visitOthers() {
            while place < places.upperBound, !patterns[n].namesKey {
                visit(place, patterns[n].isElement ? elements[place] : nil)
                advance()
            }
        }
        func advance() {
            n += 1
            if n == patterns.count { (place, n) = (place + 1, 0) }
        }
        visitOthers()
        try call.front.readAside(names) { _, i throws(CommandError) in
            visit(place, try value(call, i, patterns[n].field))
            advance()
            visitOthers()
        }
    }

    /// A string, or a hash's field; nil for anything else.
    private static func value(_ call: Call, _ i: Int, _ field: ByteView?) throws(CommandError) -> Element? {
        switch call.keys.type(i) {
        case .string where field == nil: try call.keys.string(i).map { .bytes($0) }
        case .hash where field != nil: try call.keys.hash(i).value(field!)
        default: nil
        }
    }
}
