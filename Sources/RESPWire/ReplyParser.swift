import Primitives

/// Finds the replies in a server's bytes, whatever pieces they arrive in. Client side: tierctl and
/// tests; it allocates freely.
///
/// Aggregates nest on an explicit stack, at most `depthMax` deep, so input cannot exhaust the
/// thread's stack. Each byte is looked at once, however the input is cut.
/// Streamed strings and aggregates ("$?", "*?") are refused: no server known to us sends them.
/// Source: RESP3 specification (antirez/RESP3).
public struct ReplyParser {
    public enum Failure: Error, Equatable, Sendable {
        /// No reply begins with this byte.
        case unknownKind(UInt8)
        /// A count, integer, double, boolean or line end that is none.
        case malformed
        case tooDeep
        /// A line over 64 KiB, or a bulk over `bulkBytesMax`.
        case tooLong
    }

    /// Aggregates inside aggregates.
    public static let depthMax = 32
    static let lineBytesMax = 64 << 10
    static let bulkBytesMax: Int64 = 512 << 20
    static let membersMax: Int64 = 0x3fff_ffff

    /// An aggregate whose members are still coming.
    private struct Open {
        let kind: UInt8
        /// Replies still to come, for an attribute with the reply it is about.
        var left: Int
        var members: [Reply]
    }

    private var input: [UInt8] = []
    private var at = 0
    private var searched = 0
    private var open: [Open] = []
    /// The kind and length of the bulk whose bytes are awaited.
    private var bulk: (kind: UInt8, count: Int)?

    public init() {}

    /// Bytes given and not yet part of a returned reply or an open aggregate.
    public var bufferedBytes: Int { input.count - at }

    public mutating func append(_ bytes: ByteView) {
        // Dropping only when half is spent keeps the cost linear.
        if at > 4096, at > input.count / 2 {
            input.removeFirst(at)
            searched -= min(searched, at)
            at = 0
        }
        input.append(contentsOf: bytes.buffer)
    }

    public mutating func append(_ bytes: [UInt8]) { bytes.withView { append($0) } }

    /// The next reply, or nil if its bytes have not all arrived. After an error the parser is of
    /// no further use: the place of the next reply is lost.
    public mutating func next() throws(Failure) -> Reply? {
        while true {
            guard var reply = try nextPart() else { return nil }
            guard let whole = try fold(&reply) else { continue }
            return whole
        }
    }

    /// Puts a finished reply into the innermost open aggregate, and those it completes into
    /// theirs; the outermost reply when it is complete.
    private mutating func fold(_ reply: inout Reply) throws(Failure) -> Reply? {
        while let last = open.indices.last {
            open[last].members.append(reply)
            open[last].left -= 1
            if open[last].left > 0 { return nil }
            reply = ReplyParser.close(open.removeLast())
        }
        return reply
    }

    /// One reply that is no aggregate, or an empty aggregate; opens the others on the way.
    private mutating func nextPart() throws(Failure) -> Reply? {
        while true {
            if let (kind, count) = bulk {
                guard input.count - at >= count + 2 else { return nil }
                return try takeBulk(kind, count)
            }
            guard let end = try lineEnd() else { return nil }
            let kind = input[at]
            let text = Array(input[(at + 1)..<end])
            at = end + 2
            searched = at
            switch kind {
            case UInt8(ascii: "$"), UInt8(ascii: "="), UInt8(ascii: "!"):
                let count = try ReplyParser.count(text, ReplyParser.bulkBytesMax, .tooLong)
                if count < 0 {
                    guard kind == UInt8(ascii: "$") else { throw .malformed }
                    return .null
                }
                bulk = (kind, count)
            case UInt8(ascii: "*"), UInt8(ascii: "%"), UInt8(ascii: "~"), UInt8(ascii: ">"),
                 UInt8(ascii: "|"):
                if let reply = try begin(kind, text) { return reply }
            default:
                return try ReplyParser.scalar(kind, text)
            }
        }
    }

    /// Where the `\r` of the line at `at` is, once its `\n` has arrived too.
    private mutating func lineEnd() throws(Failure) -> Int? {
        var i = max(at, searched)
        while i < input.count {
            if input[i] == UInt8(ascii: "\n") { throw .malformed }
            if input[i] == UInt8(ascii: "\r") {
                searched = i
                guard i + 1 < input.count else { return nil }
                guard input[i + 1] == UInt8(ascii: "\n"), i > at else { throw .malformed }
                return i
            }
            i += 1
        }
        searched = i
        if i - at > ReplyParser.lineBytesMax { throw .tooLong }
        return nil
    }

    private mutating func takeBulk(_ kind: UInt8, _ count: Int) throws(Failure) -> Reply {
        let bytes = Array(input[at..<(at + count)])
        guard input[at + count] == 13, input[at + count + 1] == 10 else { throw .malformed }
        at += count + 2
        searched = at
        bulk = nil
        switch kind {
        case UInt8(ascii: "$"): return .bulk(bytes)
        case UInt8(ascii: "!"): return .bulkError(bytes)
        default:
            guard count >= 4, bytes[3] == UInt8(ascii: ":") else { throw .malformed }
            return .verbatim(Array(bytes[..<3]), Array(bytes[4...]))
        }
    }

    /// Opens an aggregate; returns it at once if it has no members.
    private mutating func begin(_ kind: UInt8, _ text: [UInt8]) throws(Failure) -> Reply? {
        let count = try ReplyParser.count(text, ReplyParser.membersMax, .malformed)
        if count < 0 {
            guard kind == UInt8(ascii: "*") else { throw .malformed }
            return .nullArray
        }
        let left = switch kind {
        case UInt8(ascii: "%"): count * 2
        case UInt8(ascii: "|"): count * 2 + 1
        default: count
        }
        let opened = Open(kind: kind, left: left, members: [])
        if left == 0 { return ReplyParser.close(opened) }
        guard open.count < ReplyParser.depthMax else { throw .tooDeep }
        open.append(opened)
        return nil
    }

    private static func close(_ complete: Open) -> Reply {
        let members = complete.members
        func pairs(_ count: Int) -> [Reply.Pair] {
            (0..<count).map { Reply.Pair(members[$0 * 2], members[$0 * 2 + 1]) }
        }
        switch complete.kind {
        case UInt8(ascii: "%"): return .map(pairs(members.count / 2))
        case UInt8(ascii: "~"): return .set(members)
        case UInt8(ascii: ">"): return .push(members)
        case UInt8(ascii: "|"):
            return .attributed(pairs(members.count / 2), members[members.count - 1])
        default: return .array(members)
        }
    }

    private static func scalar(_ kind: UInt8, _ text: [UInt8]) throws(Failure) -> Reply {
        switch kind {
        case UInt8(ascii: "+"): return .simple(text)
        case UInt8(ascii: "-"): return .error(text)
        case UInt8(ascii: ":"):
            guard let value = text.withView({ Decimal.int64($0) }) else { throw .malformed }
            return .integer(value)
        case UInt8(ascii: ","):
            guard let value = text.withView({ Decimal.double($0) }) else { throw .malformed }
            return .double(value)
        case UInt8(ascii: "#"):
            guard text == [UInt8(ascii: "t")] || text == [UInt8(ascii: "f")] else {
                throw .malformed
            }
            return .boolean(text[0] == UInt8(ascii: "t"))
        case UInt8(ascii: "("):
            let digits = text.first == UInt8(ascii: "-") ? text.dropFirst() : text[...]
            guard !digits.isEmpty, digits.allSatisfy({ $0 &- 48 < 10 }) else { throw .malformed }
            return .bigNumber(text)
        case UInt8(ascii: "_"):
            guard text.isEmpty else { throw .malformed }
            return .null
        default: throw .unknownKind(kind)
        }
    }

    /// A count of bytes or members up to `most`; -1 only where the caller takes it as null.
    private static func count(
        _ text: [UInt8], _ most: Int64, _ excess: Failure
    ) throws(Failure) -> Int {
        guard let value = text.withView({ Decimal.int64($0) }), value >= -1 else {
            throw .malformed
        }
        guard value <= most else { throw excess }
        return Int(value)
    }
}
